"""A place in a grammar, as the host knows it: the resource that trait `grammar` brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pie_core import ArgumentError, HandleError, HostResource


class Version:
    """What follows at one place in a grammar. Filled in once, by the command that got there."""

    __slots__ = ("allowed",)

    def __init__(self) -> None:
        self.allowed = b""  # a bit for every token, the lowest bit of the first byte for token 0


class Cell:
    """The handler's own: where in the grammar the matcher is."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: Any = None  # `matching.Place`, or a like one; the declaration knows no grammar library


class Matcher(HostResource):
    """A grammar and how far into it some tokens have led."""

    kind = "matcher"
    quota = 32
    __slots__ = ("cell", "length", "version")

    def __init__(self) -> None:
        super().__init__()
        self.cell = Cell()
        self.length: int | None = None  # tokens taken, once all that is enqueued has run; None: no grammar, or unknown
        self.version = Version()


def one(matchers: Sequence[Matcher], where: str) -> Matcher:
    """The only one. Raises `ArgumentError` for more or fewer."""
    if len(matchers) != 1:
        raise ArgumentError(f"{where}: one matcher is wanted, got {len(matchers)}")
    return matchers[0]


def one_started(matchers: Sequence[Matcher], where: str) -> tuple[Matcher, int]:
    """The only one, and how many tokens it will have taken. Raises `HandleError` for one without a grammar, too."""
    matcher = one(matchers, where)
    if matcher.length is None:
        raise HandleError(
            f"{where}: the matcher has no grammar; set_grammar first, and await a decode that is to follow it"
        )
    return matcher, matcher.length
