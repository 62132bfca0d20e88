"""A place in a grammar, as the host knows it: the resource that trait `grammar` brings."""

from __future__ import annotations

from typing import Any

from pie_core import HostResource


class Version:
    """What follows at one place in a grammar. Filled in once, by the command that got there."""

    __slots__ = ("allowed",)

    def __init__(self) -> None:
        self.allowed = b""  # a bit for every token, the lowest bit of the first byte for token 0


class Cell:
    """The handler's own: where in the grammar the matcher is."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: Any = None  # `matching.Place`; the declaration knows no grammar library


class Matcher(HostResource):
    """A grammar and how far into it some tokens have led."""

    kind = "matcher"
    quota = 32
    __slots__ = ("cell", "length", "version")

    def __init__(self) -> None:
        super().__init__()
        self.cell = Cell()
        self.length: int | None = None  # tokens taken, once all that is enqueued has run; None without a grammar
        self.version = Version()
