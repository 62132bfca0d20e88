"""A suite: a class of cases (`test_*` methods) over what its `make` gives. The part that all suites have in common.

Cases take no fixtures, so that they need no test runner. A subclass says what is tested by `make` and which cases are
known to fail by `known_failures`; both are all there is to say.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from pie_core.errors import DeclarationError, PieError, nearest

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound=PieError)

PREFIX = "test_"


def quick(case: F) -> F:
    """Mark a case as one of the quick half: what `pie-core plugins --check NAME` runs."""
    case.quick = True  # type: ignore[attr-defined]  # read by `Suite.cases`
    return case


class Suite:
    """Base of all suites.

    known_failures: case -> why it fails for now. Strict: a case named here that passes is an error (under pytest by
    `xfail(strict=True)`), and so is a name that no case has, when the class is made.
    """

    known_failures: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for name, value in list(vars(cls).items()):
            if name.startswith(PREFIX) and callable(value):
                setattr(cls, name, _settled(value))
        names = cls.cases()
        for name in cls.known_failures:
            if name not in names:
                raise DeclarationError(
                    f"{cls.__name__}.known_failures: no case is named {name!r}{nearest(name, names)}"
                )

    def make(self) -> Any:
        """What is tested, made anew by each call. Each kind of suite says what it must be."""
        raise NotImplementedError(f"{type(self).__name__}.make: return what is to be tested")

    def setup_method(self) -> None:
        """Called before each case (the name is pytest's)."""

    def settle(self) -> None:
        """Called at the end of each case that did not fail: what must hold after any of them."""

    @classmethod
    def teardown_class(cls) -> None:
        """Called after the last case (the name is pytest's)."""

    @classmethod
    def cases(cls, only_quick: bool = False) -> list[str]:
        """Names of the cases, in order."""
        found = [name for name in dir(cls) if name.startswith(PREFIX) and callable(getattr(cls, name))]
        return [name for name in found if not only_quick or getattr(getattr(cls, name), "quick", False)]


def refused(kind: type[E], call: Callable[..., Any], *arguments: Any) -> E:
    """The error that a call is refused with; it is an `AssertionError` if it is not, or not with an error of `kind`."""
    __tracebackhide__ = True
    try:
        result = call(*arguments)
    except kind as error:
        return error
    except Exception as error:
        raise AssertionError(f"refused with {type(error).__name__} ({error}), not with {kind.__name__}") from error
    raise AssertionError(f"not refused ({kind.__name__} is due), but answered with {result!r:.80}")


def _settled(case: F) -> F:
    @functools.wraps(case)
    def run(self: Suite, *arguments: Any, **keywords: Any) -> None:
        __tracebackhide__ = True
        case(self, *arguments, **keywords)
        self.settle()

    return run  # type: ignore[return-value]  # the signature is that of the case
