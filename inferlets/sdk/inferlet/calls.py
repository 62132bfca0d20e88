"""The call functions of the installed traits, filled in by the tier before a program starts.

`from inferlet import forward` finds them here; a call that no installed trait declares is an `AttributeError` that
says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from inferlet.bindings import Declaration, make_functions


def install(declarations: Iterable[Declaration]) -> None:
    """Make functions for the calls that are not there yet. Functions are the same whatever host they will meet."""
    missing = [declaration for declaration in declarations if declaration["call"] not in globals()]
    functions = make_functions(missing)
    globals().update(functions)
    import inferlet

    inferlet.__all__ += functions


def __getattr__(name: str) -> Callable[..., Any]:
    raise AttributeError(
        f"module 'inferlet' has no {name!r}: neither the SDK nor an installed trait brings it "
        "(see `pie-core plugins` for the installed traits)"
    )
