"""Arranges the component's memory while it is built, so that a running program writes to few of the shared pages.

All instances share the pages of the component's memory until they write to them. CPython does so all over the place:
it counts references inside the objects, and puts what a program makes into the holes that the imports left. So nothing
that is here now is counted any more, and the holes are filled with objects that stay.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from types import CodeType, FunctionType
from typing import Any

from inferlet_immortal import make_immortal

_GRAIN = 16  # bytes; the C library's blocks have sizes that are multiples of it
_LARGEST = 1 << 18  # bytes of a block that fills holes; larger holes are filled by several
_BEHIND = 2 << 20  # bytes of room behind everything else
_TIMES = 8  # that a function runs before CPython has settled how


def settle(rehearse: Callable[[], None]) -> list[Any]:
    """Nothing that is here now is freed, collected or counted from here on; the filling of the holes, to be kept.

    rehearse: runs what programs will run, and leaves nothing behind.
    """
    gc.collect()
    functions = [each for each in gc.get_objects() if type(each) is FunctionType]
    written = _code_that_is_written(functions, rehearse)
    _make_all_immortal()
    behind = id(bytes(_BEHIND))
    filling = list(_fill_holes(behind))
    _bring_together(written, functions)
    _repeat(rehearse)
    _make_all_immortal(each.__code__ for each in functions)  # not found from functions that are immortal already
    filling += _fill_holes(behind)
    gc.freeze()
    return filling


def _repeat(rehearse: Callable[[], None]) -> None:
    for _ in range(_TIMES):
        rehearse()
    gc.collect()


def _code_that_is_written(functions: Iterable[FunctionType], rehearse: Callable[[], None]) -> dict[int, CodeType]:
    """Code that changes in rehearsals, by `id`: code that looks the same is equal."""
    before = {id(code): (code, _as_it_runs(code)) for each in functions for code in _nested(each.__code__)}
    _repeat(rehearse)
    return {number: code for number, (code, was) in before.items() if _as_it_runs(code) != was}


def _as_it_runs(code: CodeType) -> bytes:
    """The instructions with what CPython has written to them."""
    found: bytes = code._co_code_adaptive  # type: ignore[attr-defined]  # since 3.12
    return found


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if type(each) is CodeType:
            yield from _nested(each)


def _bring_together(written: Mapping[int, CodeType], functions: Iterable[FunctionType]) -> None:
    """Give functions copies of their code that lie side by side: it is written to as it runs."""
    copies: dict[int, CodeType] = {}

    def copy_of(code: CodeType) -> CodeType:
        if id(code) not in written:
            return code
        if id(code) not in copies:
            constants = tuple(copy_of(each) if type(each) is CodeType else each for each in code.co_consts)
            copies[id(code)] = code.replace(co_consts=constants)
        return copies[id(code)]

    for code in written.values():
        copy_of(code)
    for each in functions:
        each.__code__ = copy_of(each.__code__)


def _make_all_immortal(more: Iterable[Any] = ()) -> None:
    gc.collect()
    found: list[Any] = [sys.modules, *gc.get_objects(), *_frames(), *more]
    while found:
        each = found.pop()
        if not sys._is_immortal(each):  # type: ignore[attr-defined]  # the component's Python has it
            make_immortal(each)
            found += _parts(each)


def _frames() -> list[Any]:
    """What runs now holds: it is freed when the imports are done."""
    found: list[Any] = []
    frame = sys._getframe().f_back
    while frame is not None:
        found += [frame.f_code, *frame.f_locals.values()]
        frame = frame.f_back
    return found


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


def _fill_holes(behind: int) -> Iterator[Any]:
    """Fill the holes before this address."""
    gc.collect()
    for size in _sizes():
        yield from _fill(size, behind)


def _fill(size: int, behind: int) -> Iterator[Any]:
    """Fill holes with blocks of a size, until one has to be made in the room behind them."""
    empty = bytes.__basicsize__ + 4  # bytes of an empty object and its block
    while True:
        block = bytes(size - empty) if size > empty + 1 else float("1.5")
        if id(block) >= behind:
            return
        yield block
