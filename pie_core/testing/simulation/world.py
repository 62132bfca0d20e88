"""A simulated world as data: everything that happens in it follows from one value, which prints as a Python literal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Operation = tuple[Any, ...]
"""A verb of `guest.Actor` and its arguments: numbers, texts, None, and tuples of these."""

NEVER = 10_000_000  # steps


@dataclass(frozen=True)
class Client:
    """Who launched an inferlet. Times in virtual seconds.

    messages: the pause before each message it sends. pause: between two events that it reads. leaves: it stops reading
    after so many events, with a read pending.
    """

    messages: tuple[float, ...] = ()
    pause: float = 0.0
    leaves: int | None = None


@dataclass(frozen=True)
class Visit:
    """One inferlet: whose it is, when it arrives, what it does, and after how many steps of the loop it is stopped."""

    operations: tuple[Operation, ...]
    user: str = "ann"
    arrives: float = 0.0
    client: Client = Client()
    stop_after: int = NEVER


@dataclass(frozen=True)
class World:
    """Sizes, limits, policies and visits. Times in virtual seconds.

    wave_s: the longest that a wave takes; swap_s: and how much longer one that moves something to host memory or back.
    swap_out_fails, swap_in_fails: which transfer fails, counted from 0. shuffled: the loop runs what is ready in random
    order. dispatch, contention: as `Installed` makes them. serial: each visit waits for the one before, and no client
    is slow.
    """

    visits: tuple[Visit, ...]
    seed: int = 0
    pages: int = 8
    embeds: int = 16
    page_size: int = 4
    batch_limit: int = 4096
    kvpage_quota: int | None = None
    embed_quota: int | None = None
    inbox: int = 64
    outbox: int = 1024
    wall_s: float = 3600.0
    wave_s: float = 0.02
    swap_s: float = 0.0
    swap_out_fails: int | None = None
    swap_in_fails: int | None = None
    shuffled: bool = False
    serial: bool = False
    shut_down_at: float | None = None
    dispatch: str = "adaptive"
    contention: str = "fcfs-kill"
