"""Who holds what: allocation, sharing and reclaiming of resources, and who gives way when a pool is dry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pie_core.control.contention import ContentionPolicy
from pie_core.control.exports import Export, Exports
from pie_core.control.hazards import unblock
from pie_core.control.poison import Poison
from pie_core.control.pool import Pool
from pie_core.control.space import Space
from pie_core.control.submission import Allocation, Node, Submission
from pie_core.errors import ArgumentError, TerminatedError
from pie_core.resource import KvPage, Resource


class Memory:
    """The pools and exports of one model.

    spaces: the inferlets that are there. ready: told of a command that waits for nothing any more. evict: ends an
    inferlet that has to give way.
    """

    def __init__(
        self,
        capacity: Mapping[type[Resource], int],
        contention: ContentionPolicy,
        poison: Poison,
        spaces: Mapping[str, Space],
        now: Callable[[], float],
        ready: Callable[[Submission], None],
        evict: Callable[[Space, TerminatedError], None],
    ) -> None:
        self.capacity = capacity
        self.pools = {kind: Pool(kind, size) for kind, size in capacity.items()}
        self._contention = contention
        self._poison = poison
        self._spaces = spaces
        self._now = now
        self._ready = ready
        self._evict = evict
        self._exports = Exports()

    # holding

    def allocate(self, space: Space, kind: type[Resource], records: Sequence[Resource]) -> None:
        """Bind fresh records, now or when the pool has room. Raises if the policy ends the inferlet that asks."""
        pool = self.pools[kind]
        if pool.take(records):
            return
        allocation = Allocation(space, records)
        for record in records:
            record.writer = allocation
            record.uses += 1
        pool.wait(allocation)
        self._make_room(pool, space)

    def drop(self, records: Sequence[Resource]) -> None:
        """One holder fewer. What nobody holds or uses goes back to its pool."""
        for record in records:
            record.holders -= 1
            if record.holders == 0:
                if record.uses:
                    self.pools[type(record)].draining += 1
                else:
                    self._reclaim(record)
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
            while granted := pool.grant():
                for allocation in granted:
                    self.settle(allocation)  # what was freed while it waited makes room for the next
                    for successor in unblock(allocation):
                        self._ready(successor)

    def vacate(self, space: Space) -> None:
        """Take everything from an inferlet that has ended."""
        self.drop(space.surrender())
        for pool in self.pools.values():
            for allocation in pool.forget(space):
                self._abandon(allocation, pool)
        self.grant()

    # sharing

    def export(self, space: Space, pages: Sequence[KvPage], name: str, ttl: float | None) -> None:
        """See `Space.export`."""
        if ttl is not None and not ttl > 0:
            raise ArgumentError(f"export_kvpage: a ttl of {ttl} seconds is none; name more than 0, or None for no end")
        now = self._now()
        self._expire(now)
        export = Export(name, space.owner, tuple(pages), now, None if ttl is None else now + ttl)
        self._exports.publish(space.user, export, space.export_limits)
        for page in pages:
            page.holders += 1

    def exported(self, user: str, name: str) -> Sequence[KvPage]:
        """The pages published under a name. Raises `HandleError` naming the near ones."""
        self._expire(self._now())
        return self._exports.find(user, name, "import_kvpage").pages

    def import_(self, user: str, name: str) -> Sequence[KvPage]:
        """See `Space.import_`."""
        pages = self.exported(user, name)
        for page in pages:
            page.holders += 1
        return pages

    def exports_of(self, user: str) -> list[tuple[Export, float]]:
        """See `Space.exports`."""
        now = self._now()
        self._expire(now)
        return [(export, now - export.exported_at) for export in self._exports.of(user)]

    def release(self, user: str, name: str) -> None:
        """See `Space.release`."""
        self.drop(self._exports.withdraw(user, name).pages)

    def _expire(self, now: float) -> None:
        for user, name in list(self._exports.expired(now)):
            self.release(user, name)

    # giving way

    def _make_room(self, pool: Pool, requester: Space) -> None:
        self._expire(self._now())
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

    def _abandon(self, allocation: Allocation, pool: Pool) -> None:
        """Of an ended inferlet's waiting allocation, only what somebody still holds or uses goes on waiting."""
        for record in allocation.writes:
            record.uses -= 1
        records, allocation.writes = allocation.writes, [r for r in allocation.writes if r.holders or r.uses]
        for record in allocation.writes:
            record.uses += 1
        for record in records:
            if not (record.holders or record.uses):
                self._drained(record)  # as `drop` counted it; it never had an index to give back
        if allocation.writes:
            pool.wait(allocation)

    def _drained(self, record: Resource) -> None:
        self.pools[type(record)].draining -= 1
        self._reclaim(record)

    def _reclaim(self, record: Resource) -> None:
        self._poison.forget(record)
        self.pools[type(record)].give(record)
