"""The backend under the conformance suites, in float32 on tiny random checkpoints, on both of its paths."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import load
from pie_traits_text.testing import AllocateSuite, ForwardSuite, InputTextSuite, OutputTextSuite, TokenizeSuite

from pie_core.model import ModelSpec
from pie_core.testing.conformance import BackendSuite

from .conftest import write_checkpoint


class Torch:
    """What is loaded: a family on one of the two paths."""

    backend_name = "torch"
    family = "llama"
    implementation: str

    def make(self) -> Any:
        options = TorchOptions(pages=128, embeds=1024, page_size=8, dtype="float32", implementation=self.implementation)
        with TemporaryDirectory() as directory:
            path = write_checkpoint(Path(directory), self.family, vocab_size=300)  # room for every byte
            return load(ModelSpec(self.family, path), options, lambda stage, share: None)


class Lean(Torch):
    implementation = "lean"


class Generic(Torch):
    implementation = "generic"


class TestLeanBackend(Lean, BackendSuite):
    pass


class TestLeanAllocate(Lean, AllocateSuite):
    pass


class TestLeanForward(Lean, ForwardSuite):
    pass


class TestLeanInputText(Lean, InputTextSuite):
    pass


class TestLeanTokenize(Lean, TokenizeSuite):
    pass


class TestLeanOutputText(Lean, OutputTextSuite):
    pass


class TestGenericBackend(Generic, BackendSuite):
    pass


class TestGenericAllocate(Generic, AllocateSuite):
    pass


class TestGenericForward(Generic, ForwardSuite):
    pass


class TestGenericInputText(Generic, InputTextSuite):
    pass


class TestGenericTokenize(Generic, TokenizeSuite):
    pass


class TestGenericOutputText(Generic, OutputTextSuite):
    pass


class TestSlidingForward(Generic, ForwardSuite):
    family = "gemma2"
