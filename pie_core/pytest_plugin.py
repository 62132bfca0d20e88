"""What pytest does for the conformance suites: shows values in their assertions, and makes known failures strict.

Entry point of group `pytest11`, so it is imported in every run of pytest where pie-core is installed. It must stay
light: the suites themselves are imported by the tests that use them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import pytest

from pie_core.plugins import discover

CONFORMANCE = "pie_core.testing.conformance"

# With a suite its neighbours, where it keeps its comparisons.
_SUITES = [plugin.target.rpartition(".")[0] or plugin.target for plugin in discover("suites")]
pytest.register_assert_rewrite(CONFORMANCE, *_SUITES)


def pytest_collection_modifyitems(items: Iterable[Any]) -> None:
    """Cases named in `known_failures` are expected to fail, strictly."""
    conformance: Any = sys.modules.get(CONFORMANCE)
    if conformance is None:
        return  # no test imports a suite
    for item in items:
        suite: Any = getattr(item, "cls", None)
        if suite is not None and issubclass(suite, conformance.Suite):
            reason = suite.known_failures.get(item.originalname)
            if reason is not None:
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
