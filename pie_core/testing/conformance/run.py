"""Run the cases of a suite without a test runner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pie_core.testing.conformance.suite import Suite


@dataclass(frozen=True)
class Result:
    """How one case ended. known: it fails and `known_failures` says so."""

    suite: str
    case: str
    status: Literal["passed", "failed", "known"]
    error: BaseException | None = None


def run_suite(suite: type[Suite], only_quick: bool = False) -> Iterator[Result]:
    """Run the cases one after the other."""
    try:
        for name in suite.cases(only_quick):
            yield _run(suite, name)
    finally:
        suite.teardown_class()


def _run(suite: type[Suite], name: str) -> Result:
    reason = suite.known_failures.get(name)
    try:
        instance = suite()
        instance.setup_method()
        getattr(instance, name)()
    except Exception as error:
        return Result(suite.__name__, name, "failed" if reason is None else "known", error)
    if reason is not None:
        unexpected = AssertionError(f"it passes, though known_failures says: {reason}; remove it from there")
        return Result(suite.__name__, name, "failed", unexpected)
    return Result(suite.__name__, name, "passed")
