"""A tree of tokens, and how it is told: in stretches without a fork."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count


class Vector:
    """What stands in an Embed: a token's, perhaps one that is not drawn yet; or something without a number."""

    __slots__ = ("token",)

    def __init__(self, token: int | None = None) -> None:
        self.token = token


class Node:
    """A token behind another one. run: it went through the model; else it was only drawn."""

    __slots__ = ("children", "position", "run", "vector")

    def __init__(self, vector: Vector, position: int, run: bool) -> None:
        self.vector = vector
        self.position = position
        self.run = run
        self.children: list[Node] = []


@dataclass(frozen=True)
class Stretch:
    """Tokens behind one another without a fork. after: the number of the stretch before it; -1: none."""

    after: int
    tokens: Sequence[int | None]
    computed: int  # times that one of them was run: as many as there are if each was run once


def stretches(root: Node) -> Iterator[Stretch]:
    """A tree, each stretch before those that follow it.

    Equal tokens behind one token are one; `computed` tells whether they were shared or run again.
    """
    waiting = [(-1, group) for group in reversed(_groups([root]))]
    for number in count():
        if not waiting:
            return
        after, group = waiting.pop()
        tokens, computed = [group[0].vector.token], _runs(group)
        below = _groups(group)
        while len(below) == 1:
            (group,) = below
            tokens.append(group[0].vector.token)
            computed += _runs(group)
            below = _groups(group)
        yield Stretch(after, tokens, computed)
        waiting += [(number, child) for child in reversed(below)]


def _groups(nodes: Sequence[Node]) -> list[list[Node]]:
    """The children of equal nodes, equal ones together, in order of their first."""
    found: dict[int | None, list[Node]] = {}
    for node in nodes:
        for child in node.children:
            found.setdefault(child.vector.token, []).append(child)
    return list(found.values())


def _runs(group: Sequence[Node]) -> int:
    return sum(node.run for node in group)
