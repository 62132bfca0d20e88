"""The bundled model on the torch backend, under the quick half of the conformance suites."""

import pytest
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import load
from pie_model_pico import pie_model
from pie_traits_text.testing import AllocateSuite, ForwardSuite, InputTextSuite, OutputTextSuite, TokenizeSuite

from pie_core.inference.backend import Backend
from pie_core.testing.conformance import BackendSuite, ModelSuite, run_suite

SUITES = [BackendSuite, AllocateSuite, ForwardSuite, InputTextSuite, OutputTextSuite, TokenizeSuite]


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.__name__)
def test_nothing_fails(suite: type[ModelSuite]) -> None:
    class Pico(suite):  # type: ignore[misc, valid-type]  # each of the suites in turn
        backend_name = "torch"

        def make(self) -> Backend:
            return load(pie_model(), TorchOptions(pages=128, embeds=1024, threads=1), lambda stage, share: None)

    failed = {result.case: result.error for result in run_suite(Pico, only_quick=True) if result.status == "failed"}
    assert failed == {}
