"""Arranges the component's memory while it is built, so that a running program writes to few of the shared pages.

All instances share the pages of the component's memory until they write to them. CPython does so all over the place:
it counts references inside the objects, and puts what a program makes into the holes that the imports left. So nothing
that is here now is counted any more, and the holes are filled with objects that stay.
"""

from __future__ import annotations

import gc
import sys
from itertools import chain
from types import CodeType
from typing import Any

from inferlet_immortal import make_immortal

_GRAIN = 16  # bytes; the C library's blocks have sizes that are multiples of it
_LARGEST = 1 << 18  # bytes of a block that fills holes; larger holes are filled by several
_BEHIND = 2 << 20  # bytes of room behind everything else


def settle() -> list[Any]:
    """Nothing that is here now is freed, collected or counted from here on; the filling of the holes, to be kept."""
    gc.collect()
    _make_all_immortal()
    gc.collect()
    filling: list[Any] = []
    behind = id(bytes(_BEHIND))
    for size in _sizes():
        _fill(filling, size, behind)
    gc.freeze()
    return filling


def _make_all_immortal() -> None:
    found: list[Any] = [sys.modules, *gc.get_objects()]
    while found:
        each = found.pop()
        if not sys._is_immortal(each):  # type: ignore[attr-defined]  # the component's Python has it
            make_immortal(each)
            found += _parts(each)


def _parts(whole: Any) -> list[Any]:
    """What an object holds. The garbage collector does not show what cannot be part of a cycle."""
    parts = gc.get_referents(whole)
    if type(whole) is dict:
        parts += whole
    elif type(whole) is CodeType:
        names = (whole.co_names, whole.co_varnames, whole.co_cellvars, whole.co_freevars)
        parts += (*names, *chain(*names), whole.co_consts, whole.co_name, whole.co_qualname, whole.co_filename)
        parts += (whole.co_linetable, whole.co_exceptiontable)
    return parts


def _sizes() -> list[int]:
    """Sizes of blocks, down to the smallest."""
    large = [_LARGEST >> halved for halved in range(8)]
    return [*large, *range(large[-1] // 2, _GRAIN, -_GRAIN)]


def _fill(filling: list[Any], size: int, behind: int) -> None:
    """Fill holes with blocks of a size, until one has to be made in the room behind them."""
    empty = bytes.__basicsize__ + 4  # bytes of an empty object and its block
    while True:
        block = bytes(size - empty) if size > empty + 1 else float("1.5")
        filling.append(block)
        if id(block) >= behind:
            return
