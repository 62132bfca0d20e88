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

from .conftest import DEVICE, ON_CPU, write_adapter, write_checkpoint


class Torch:
    """What is loaded: a family on one of the two paths."""

    backend_name = "torch"
    family = "llama"
    implementation: str
    adapters: tuple[str, ...] = ()
    batch_tolerance = 0.0 if ON_CPU else 1e-4  # a GPU's kernels are chosen by the size of the batch

    def make(self) -> Any:
        with TemporaryDirectory() as directory:
            path = write_checkpoint(Path(directory) / "model", self.family, vocab_size=300)  # room for every byte
            folders = [
                write_adapter(Path(directory) / name, path, seed, r=4, target_modules=["q_proj", "v_proj"])
                for seed, name in enumerate(self.adapters)
            ]
            options = TorchOptions(
                pages=128,
                embeds=1024,
                page_size=8,
                device=DEVICE,
                dtype="float32",
                implementation=self.implementation,
                adapters=",".join(f"{folder.name}={folder}" for folder in folders),
            )
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
    adapters = ("one", "other")


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
    adapters = ("one", "other")


class TestGenericInputText(Generic, InputTextSuite):
    pass


class TestGenericTokenize(Generic, TokenizeSuite):
    pass


class TestGenericOutputText(Generic, OutputTextSuite):
    pass


class TestSlidingForward(Generic, ForwardSuite):
    family = "gemma2"


class Latent(Generic):
    """Experts: sums over those of a batch round by the batch."""

    family = "deepseek_v3"
    batch_tolerance = 1e-4 if ON_CPU else 1e-3


class TestLatentForward(Latent, ForwardSuite):
    pass


class TestLatentAllocate(Latent, AllocateSuite):
    pass
