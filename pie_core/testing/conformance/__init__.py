"""What a correct trait, backend or policy does, as cases that a package inherits and runs in its own tests.

    from pie_core.testing.conformance import BackendSuite

    class TestBackend(BackendSuite):
        backend_name = "acme"
        known_failures = {"test_close_...": "the driver keeps its context"}

        def make(self):
            return load_backend("tiny", pages=64)

The suite of a trait is published by the package that declares the trait. pytest is not imported here: the same cases
run under it, with its rewritten assertions, and without it (`pie-core plugins --check NAME`).
"""

from pie_core.testing.conformance.backend import BackendSuite
from pie_core.testing.conformance.contention import ContentionSuite
from pie_core.testing.conformance.dispatch import DispatchSuite
from pie_core.testing.conformance.model_suite import ModelSuite
from pie_core.testing.conformance.run import Result, run_suite
from pie_core.testing.conformance.suite import Suite, quick
from pie_core.testing.conformance.trait import TraitSuite

__all__ = [
    "BackendSuite",
    "ContentionSuite",
    "DispatchSuite",
    "ModelSuite",
    "Result",
    "Suite",
    "TraitSuite",
    "quick",
    "run_suite",
]
