"""How a program ends, told the same way in the sandbox and in the trusted tier (which imports this module)."""

from __future__ import annotations

import builtins
import io
import linecache
import traceback
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from inferlet.errors import from_code

_LONGEST_TRACEBACK = 64 << 10  # characters; the end of it is kept


def program_traceback(error: BaseException, filename: str, source: str, foreign: tuple[str, ...]) -> str:
    """The traceback of a program's error with its own lines and those of libraries.

    foreign: how the names of files begin whose frames are left out (the SDK's, the server's).
    """
    kept = linecache.cache.get(filename)
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    try:
        summary = traceback.TracebackException.from_exception(error, compact=True)
    finally:
        linecache.cache.pop(filename, None)
        if kept is not None:
            linecache.cache[filename] = kept
    _keep_own_frames(summary, foreign)
    text = "".join(summary.format()).rstrip()
    return text if len(text) <= _LONGEST_TRACEBACK else f"[...]{text[-_LONGEST_TRACEBACK:]}"


def _keep_own_frames(summary: traceback.TracebackException, foreign: tuple[str, ...]) -> None:
    summary.stack[:] = [frame for frame in summary.stack if not frame.filename.startswith(foreign)]
    related = (summary.__cause__, summary.__context__, *(summary.exceptions or ()))
    for other in related:
        if other is not None:
            _keep_own_frames(other, foreign)


def wrong_result(filename: str, value: object) -> str | None:
    """What is wrong with what `main` returned, if anything is."""
    if value is None or isinstance(value, str):
        return None
    return f"{filename}: main returned {type(value).__name__}; return a str or None"


def print_at_once(write: Callable[[str], object], *values: object, file: Any = None, **how: Any) -> None:
    """`print` for programs: one `write` for each call."""
    if file is not None:
        builtins.print(*values, file=file, **how)
        return
    text = io.StringIO()
    builtins.print(*values, file=text, **how)
    write(text.getvalue())


class Contained(Coroutine[Any, Any, Any]):
    """A program's coroutine whose `sys.exit()` ends its task only: asyncio lets SystemExit through."""

    def __init__(self, inner: Coroutine[Any, Any, Any] | Generator[Any, None, Any]) -> None:
        self._inner = inner
        self.__name__ = getattr(inner, "__name__", type(inner).__name__)
        self.__qualname__ = getattr(inner, "__qualname__", self.__name__)

    def send(self, value: Any) -> Any:
        """See `Coroutine.send`."""
        try:
            return self._inner.send(value)
        except SystemExit as error:
            raise _left(error) from error

    def throw(self, *error: Any) -> Any:
        """See `Coroutine.throw`."""
        try:
            return self._inner.throw(*error)
        except SystemExit as left:
            raise _left(left) from left

    def close(self) -> None:
        """See `Coroutine.close`."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self  # type: ignore[return-value]  # asyncio only sends and throws


def _left(error: SystemExit) -> Exception:
    return from_code("program", f"a task of the program called sys.exit({error.code!r})")
