"""Who holds what: allocation, sharing and reclaiming of resources, and who gives way when a pool is dry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from pie_core.control.contention import ContentionPolicy
from pie_core.control.exports import Export, Exports
from pie_core.control.hazards import unblock
from pie_core.control.poison import Poison
from pie_core.control.pool import Pool
from pie_core.control.remains import Remains
from pie_core.control.space import Space
from pie_core.control.submission import Allocation, Node, Submission
from pie_core.control.swapping import Swapped, Swapping
from pie_core.errors import ArgumentError, TerminatedError
from pie_core.inference.backend import Swapper
from pie_core.resource import KvPage, Resource


class Memory:
    """The pools and exports of one model.

    spaces: the inferlets that are there. ready: told of a command that waits for nothing any more. evict: ends an
    inferlet that has to give way. look: called when `relieve` should be. drop: ends a command of an ended inferlet.
    """

    def __init__(
        self,
        capacity: Mapping[type[Resource], int],
        contention: ContentionPolicy,
        swapper: Swapper | None,
        poison: Poison,
        spaces: Mapping[str, Space],
        now: Callable[[], float],
        ready: Callable[[Submission], None],
        evict: Callable[[Space, TerminatedError], None],
        look: Callable[[], None],
        drop: Callable[[Submission, TerminatedError], None],
    ) -> None:
        self.capacity = capacity
        self.pools = {kind: Pool(kind, size, contention.oldest_first) for kind, size in capacity.items()}
        self.swapping = Swapping(
            swapper, contention.host_bytes, self.pools, now, self.settle, self._drained, ready, poison.lose
        )
        self._remains = Remains(self.pools, self.swapping, drop, self._drained)
        self._contention = contention
        self._poison = poison
        self._spaces = spaces
        self._now = now
        self._ready = ready
        self._evict = evict
        self._look = look
        self._exports = Exports()
        self._still_since: float | None = None  # since when nothing at all moves although somebody waits

    # holding

    def allocate(self, space: Space, kind: type[Resource], records: Sequence[Resource]) -> None:
        """Bind fresh records, now or when the pool has room. Raises if the policy ends the inferlet that asks."""
        pool = self.pools[kind]
        self.stir()
        space.active_at = self._now()
        if pool.take(records):
            return
        allocation = Allocation(space, records)
        for record in records:
            record.writer = allocation
            record.uses += 1
        pool.wait(allocation)
        self.grant()
        self._make_room(pool, space)
        self._look()

    def drop(self, records: Sequence[Resource]) -> None:
        """One holder fewer. What nobody holds or uses goes back to its pool."""
        self._let_go(records)
        if self._remains:
            self._remains.clear()
        self.grant()

    def settle(self, node: Node) -> None:
        """The device (or the pool) is done with what a command (or an allocation) touched."""
        for resource in node.reads:
            resource.uses -= 1
            if resource.uses == 0 and resource.holders == 0:
                self._drained(resource)
        for resource in node.writes:
            if resource.writer is node:
                resource.writer = None
            resource.uses -= 1
            if resource.uses == 0 and resource.holders == 0:
                self._drained(resource)

    def grant(self) -> None:
        """Serve the allocations that wait, as far as there is room now."""
        for pool in self.pools.values():
            while pool.head is not None and not pool.lacking:
                self._serve(pool.serve())  # what was freed while it waited makes room for the next

    def vacate(self, space: Space) -> None:
        """Take everything from an inferlet that has ended, before anybody is served: it must not be itself."""
        self._remains.add(space)
        self.drop(space.surrender())

    # sharing

    def export(self, space: Space, pages: Sequence[KvPage], name: str, ttl: float | None) -> None:
        """See `Space.export`."""
        if ttl is not None and not ttl > 0:
            raise ArgumentError(f"export_kvpage: a ttl of {ttl} seconds is none; name more than 0, or None for no end")
        self.expire()
        now = self._now()
        export = Export(name, space.owner, tuple(pages), now, None if ttl is None else now + ttl)
        self._exports.publish(space.user, export, space.export_limits)
        for page in pages:
            page.holders += 1
        self.recall(space)

    def exported(self, user: str, name: str) -> Sequence[KvPage]:
        """The pages published under a name. Raises `HandleError` naming the near ones."""
        self.expire()
        return self._exports.find(user, name, "import_kvpage").pages

    def import_(self, user: str, name: str) -> Sequence[KvPage]:
        """See `Space.import_`."""
        pages = self.exported(user, name)
        for page in pages:
            page.holders += 1
        return pages

    def exports_of(self, user: str) -> list[tuple[Export, float]]:
        """See `Space.exports`."""
        self.expire()
        now = self._now()
        return [(export, now - export.exported_at) for export in self._exports.of(user)]

    def published(self) -> Iterable[tuple[str, Export]]:
        """What all users have published, with whose it is."""
        return self._exports

    def release(self, user: str, name: str) -> None:
        """See `Space.release`."""
        self.drop(self._exports.withdraw(user, name).pages)

    def expire(self) -> None:
        """Withdraw the exports whose time is over."""
        for user, name in list(self._exports.expired(self._now())):
            self.release(user, name)

    # giving way

    @property
    def waited_for(self) -> bool:
        """Whether anybody waits for room."""
        return any(pool.head for pool in self.pools.values())

    def stir(self) -> None:
        """Something has changed, or may."""
        self._still_since = None

    def relieve(self, standstill: bool) -> None:
        """Do something for who waits for room, now that every inferlet that could run has run.

        standstill: nothing is on the device, and nothing could be launched.
        """
        now = self._now()
        for pool in self.pools.values():
            self._swap_for(pool, standstill)
        if not standstill or self.swapping.transfers:
            self._still_since = None
        elif self._still_since is None:
            self._still_since = now
        elif now - self._still_since >= self._contention.cycle_s and not self._return_alone():
            self._break_cycle()

    def recall(self, space: Space) -> None:
        """Bring back what is needed of what an inferlet has in host memory."""
        needed = [swapped for swapped in space.swapped if swapped.resting and swapped.needed]
        for swapped in needed:
            self.swapping.recall(swapped)
        if needed:
            self.grant()
            self._look()

    def _return_alone(self) -> bool:
        """Have those come back who wait only for what they ask for besides; whether there were any."""
        found = [pool for pool in self.pools.values() if pool.head and pool.head.returns and pool.has_room_for_head]
        for pool in found:
            self._serve(pool.serve())
        return bool(found)

    def _swap_for(self, pool: Pool, standstill: bool) -> None:
        lacking = pool.lacking - pool.leaving - (0 if standstill else pool.draining)
        while lacking > 0 and pool.head is not None:
            requester = pool.head.space
            stalled = self.swapping.stalled(pool.kind, requester, self._spaces.values(), standstill)
            chosen = self._contention.swap_out(pool.kind, requester, stalled) if stalled else None
            if chosen is None:
                return
            lacking -= self.swapping.swap_out(chosen, pool.kind)

    def _break_cycle(self) -> None:
        """End an inferlet if all that hold what somebody waits for wait themselves."""
        kinds = [pool.kind for pool in self.pools.values() if pool.head]
        spaces = sorted(self._spaces.values(), key=lambda space: space.arrival)
        waiting = [space for space in spaces if space.outstanding() and any(space.occupies(kind) for kind in kinds)]
        for kind in kinds:
            holders = [space for space in spaces if space.occupies(kind)]
            left = self._remains.occupying(kind)
            if (holders or left) and set(holders) <= set(waiting):
                if left:  # first what no living inferlet needs to go on
                    self._remains.give_up(left[-1])
                    self.drop(())
                    return
                victim = self._contention.break_cycle(kind, waiting)
                self._evict(victim, self._cycle_reason(victim, kind, len(waiting)))
                return

    def _make_room(self, pool: Pool, requester: Space) -> None:
        self.expire()
        while pool.wanted:
            holders = [space for space in self._spaces.values() if space is requester or space.holds(pool.kind)]
            holders.sort(key=lambda space: space.arrival)
            victim = self._contention.victim(pool.kind, requester, holders)
            if victim is None:
                return
            self._evict(victim, self._reason(victim, pool))
        requester.check_alive()

    def _reason(self, victim: Space, pool: Pool) -> TerminatedError:
        kind = pool.kind.kind
        return TerminatedError(
            f"inferlet {victim.owner} was ended by the contention policy {self._contention.name!r}: all "
            f"{pool.capacity} {kind}s are in use and it came last; run fewer inferlets at a time, free {kind}s "
            "earlier, or start the server with a larger pool"
        )

    def _cycle_reason(self, victim: Space, kind: type[Resource], waiting: int) -> TerminatedError:
        hint = f" (nothing is swapped any more: {self.swapping.broken})" if self.swapping.broken else ""
        return TerminatedError(
            f"inferlet {victim.owner} was ended by the contention policy {self._contention.name!r} to break a cycle: "
            f"all {waiting} inferlets that hold {kind.kind}s or the like wait for more, and none can go on before "
            f"another ends{hint}; allocate all that a program needs in one call before it starts, free before asking "
            "for more, run fewer inferlets at a time, or start the server with a larger pool or more host memory to "
            "swap to"
        )

    def _serve(self, allocation: Allocation) -> None:
        """It has got its indices."""
        if isinstance(allocation, Swapped):
            self.swapping.swap_in(allocation)
            self._look()
            return
        self.settle(allocation)
        for successor in unblock(allocation):
            self._ready(successor)

    def _let_go(self, records: Sequence[Resource]) -> None:
        self.stir()
        for record in records:
            record.holders -= 1
            if record.holders == 0:
                if record.budget is not None:
                    record.budget.release(record)
                if record.uses:
                    self.pools[type(record)].draining += 1
                else:
                    self._reclaim(record)

    def _drained(self, record: Resource) -> None:
        self.pools[type(record)].draining -= 1
        self._reclaim(record)

    def _reclaim(self, record: Resource) -> None:
        self._poison.forget(record)
        if isinstance(record.writer, Swapped):
            self.swapping.forget(record.writer, record)
        self.pools[type(record)].give(record)
