"""Policies under watch: whether they are asked when they are to be asked, and whether what they say is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pie_core.control.batching import Backlog
from pie_core.control.contention import ContentionPolicy, FcfsKill, Stalled
from pie_core.control.dispatch import Adaptive, DispatchPolicy
from pie_core.control.layer import ControlLayer
from pie_core.control.space import Space
from pie_core.control.swap_policy import Swap
from pie_core.resource import Resource
from pie_core.testing.simulation.cycles import Cycles
from pie_core.testing.simulation.entry import Entry
from pie_core.testing.simulation.ledger import Ledger

Complain = Callable[[str], None]

_LATE_S = 1e-3


class WatchedDispatch(DispatchPolicy):
    """Asks a dispatch policy. asked: how often; prompt: it leaves no device idle while a command is ready."""

    def __init__(self, policy: DispatchPolicy, ledger: Ledger, complain: Complain) -> None:
        self.name = policy.name  # type: ignore[misc]  # of whoever is watched
        self.immediate = policy.immediate  # type: ignore[misc]
        self.prompt = policy.name == Adaptive.name
        self.asked = 0
        self._policy = policy
        self._ledger = ledger
        self._complain = complain
        self._launches: int | None = None  # there were, when it last said that a wave is due
        self._ready: list[Entry] = []  # what was ready then
        self._again: float | None = None  # when it wants to be asked

    def due(self, backlog: Backlog, *, idle: bool, quiet: bool, now: float) -> bool | float:
        """See `DispatchPolicy.due`."""
        self.asked += 1
        if idle == bool(self._ledger.in_flight):
            self._complain(f"the dispatch policy was told that the device is {'idle' if idle else 'at work'}")
        answer = self._policy.due(backlog, idle=idle, quiet=quiet, now=now)
        self._again = None if isinstance(answer, bool) else answer
        self._launches = self._ledger.launches if answer is True else None
        self._ready = list(self._ledger.ready()) if answer is True else []
        return answer

    def launch(self) -> None:
        """A wave with commands is about to be launched."""
        if self._launches is None:
            self._complain("a wave was launched that was not due")
        if self.prompt and self._ledger.in_flight:
            self._complain("a wave was launched while one is in flight")

    def check(self) -> None:
        """After a step."""
        if self._launches == self._ledger.launches:
            for entry in set(self._ready) & set(self._ledger.ready()):
                self._complain(f"a wave was due, and {entry} was not launched")
        self._launches = None

    def check_rest(self, now: float) -> None:
        """Nothing can run until time moves."""
        ready = next(self._ledger.ready(), None)
        if ready is not None and self.prompt and not self._ledger.in_flight:
            self._complain(f"{ready} is ready and the device idle, and nothing will happen")
        if ready is not None and self._again is not None and now > self._again + _LATE_S:
            self._complain(f"the dispatch policy was to be asked again at {self._again}, for {ready}")


class WatchedContention(ContentionPolicy):
    """Asks a contention policy, and checks that it was to be asked and, where its rule is known, what it answers."""

    def __init__(self, policy: ContentionPolicy, complain: Complain) -> None:
        self.name = policy.name  # type: ignore[misc]  # of whoever is watched
        self.host_bytes, self.oldest_first, self.cycle_s = policy.host_bytes, policy.oldest_first, policy.cycle_s
        self._policy = policy
        self._complain = complain
        self._newest_breaks = type(policy).break_cycle is ContentionPolicy.break_cycle
        self._layer: ControlLayer
        self._cycles: Cycles

    def attach(self, layer: ControlLayer, cycles: Cycles) -> None:
        """Whose policy it is."""
        self._layer, self._cycles = layer, cycles

    def victim(self, kind: type[Resource], requester: Space, holders: Sequence[Space]) -> Space | None:
        """See `ContentionPolicy.victim`."""
        chosen = self._policy.victim(kind, requester, holders)
        pool = self._layer.pools[kind]
        coming = pool.free + pool.draining
        if sum(len(allocation.writes) for allocation in pool._waiting) <= coming:
            self._complain(f"somebody is to give way, though {coming} {kind.kind}s are free or will be")
        if self.name == FcfsKill.name:
            there = [space for space in self._layer.spaces.values() if space is requester or space.tables[kind]]
            newest = max(there, key=lambda space: space.arrival)
            if chosen is not newest:
                self._complain(f"{newest.owner} holds {kind.kind}s and came last, and another is to give way")
        return chosen

    def swap_out(self, kind: type[Resource], requester: Space, stalled: Sequence[Stalled]) -> Space | None:
        """See `ContentionPolicy.swap_out`."""
        for one in stalled:
            alone = self._cycles.held_alone(kind, one.space)
            if one.movable != alone:
                self._complain(f"{one.movable} {kind.kind}s of {one.space.owner} are said to be movable, not {alone}")
            if one.idle_s is None and self._cycles.has_just_returned(one.space.owner) and not self._cycles.standstill():
                self._complain(f"{one.space.owner} was brought back, has not run since, and could be moved again")
        chosen = self._policy.swap_out(kind, requester, stalled)
        if chosen is not None and self.name == Swap.name:
            waits = chosen.owner in self._cycles.waiting()
            if waits and chosen.arrival <= requester.arrival and not self._cycles.standstill():
                self._complain(f"{chosen.owner} came before {requester.owner}, and is to lend it its {kind.kind}s")
        return chosen

    def break_cycle(self, kind: type[Resource], waiting: Sequence[Space]) -> Space:
        """See `ContentionPolicy.break_cycle`."""
        chosen = self._policy.break_cycle(kind, waiting)
        if self._cycles.find() is None:
            self._complain(f"{chosen.owner} is to give way for a cycle, and there is none")
        involved = [space for space in self._cycles.involved() if space.owner in self._cycles.waiting()]
        if self._newest_breaks and chosen is not max(involved, key=lambda space: space.arrival):
            self._complain(f"{chosen.owner} is to give way for a cycle, and did not come last")
        movable = self._cycles.movable(self.host_bytes)
        if self.name == Swap.name and movable is not None:
            self._complain(f"{chosen.owner} is to give way for a cycle, though {movable} could lend its {kind.kind}s")
        return chosen
