"""Policies by name, and a contention policy under watch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from pie_core.control.contention import ContentionPolicy, FcfsKill, Stalled
from pie_core.control.dispatch import Adaptive
from pie_core.control.layer import ControlLayer
from pie_core.control.space import Space
from pie_core.errors import PluginError
from pie_core.plugins import Selection
from pie_core.policies import PolicyChoice, make_contention, make_dispatch
from pie_core.resource import Resource

_KNOWN = {policy.name: policy for policy in (Adaptive, FcfsKill)}


def find(name: str) -> Any:
    """A new policy: one of the core's or an installed one by its name, or any by `package.module:Class`.

    Raises `PieError`.
    """
    if name in _KNOWN:
        return _KNOWN[name]()
    module, colon, attribute = name.partition(":")
    if colon:
        return getattr(importlib.import_module(module), attribute)()
    try:
        return make_dispatch(PolicyChoice(name), Selection())
    except PluginError:
        return make_contention(PolicyChoice(name), Selection())


class Watched(ContentionPolicy):
    """Asks a contention policy, and checks that it was to be asked and, where its rule is known, what it answers."""

    def __init__(self, policy: ContentionPolicy, complain: Callable[[str], None]) -> None:
        self.name = policy.name  # type: ignore[misc]  # of whoever is watched
        self.host_bytes, self.oldest_first, self.cycle_s = policy.host_bytes, policy.oldest_first, policy.cycle_s
        self.layer: ControlLayer
        self._policy = policy
        self._complain = complain

    def victim(self, kind: type[Resource], requester: Space, holders: Sequence[Space]) -> Space | None:
        """See `ContentionPolicy.victim`."""
        chosen = self._policy.victim(kind, requester, holders)
        pool = self.layer.pools[kind]
        coming = pool.free + pool.draining
        if sum(len(allocation.writes) for allocation in pool._waiting) <= coming:
            self._complain(f"somebody is to give way, though {coming} {kind.kind}s are free or will be")
        if self.name == FcfsKill.name:
            there = [space for space in self.layer.spaces.values() if space is requester or space.tables[kind]]
            newest = max(there, key=lambda space: space.arrival)
            if chosen is not newest:
                self._complain(f"{newest.owner} holds {kind.kind}s and came last, and another is to give way")
        return chosen

    def swap_out(self, kind: type[Resource], requester: Space, stalled: Sequence[Stalled]) -> Space | None:
        """See `ContentionPolicy.swap_out`."""
        return self._policy.swap_out(kind, requester, stalled)

    def break_cycle(self, kind: type[Resource], waiting: Sequence[Space]) -> Space:
        """See `ContentionPolicy.break_cycle`."""
        return self._policy.break_cycle(kind, waiting)
