"""Handles: numbers with a kind. They mean something to the inferlet that got them, and to nobody else."""

from __future__ import annotations


class KvPage(int):
    """A page of the KV cache."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"KvPage({int(self)})"


class Embed(int):
    """One vector of the model's width and its position."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Embed({int(self)})"


KINDS: dict[str, type[int]] = {"kvpage": KvPage, "embed": Embed}


class Queue:
    """A command queue of one model. Commands take effect in the order they are enqueued."""

    __slots__ = ("handle", "model_name")

    def __init__(self, model_name: str, handle: int) -> None:
        self.model_name = model_name
        self.handle = handle

    def __repr__(self) -> str:
        return f"Queue({self.handle} of {self.model_name})"
