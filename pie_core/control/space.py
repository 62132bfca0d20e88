"""One inferlet's virtual address space: handles, queues, quota. The inferlet's door to the control layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pie_core.control.queue import Queue
from pie_core.errors import HandleError, ResourceError, TerminatedError
from pie_core.resource import UNBOUND, KvPage, Resource

if TYPE_CHECKING:
    from pie_core.control.budget import Budget
    from pie_core.control.exports import Export, ExportLimits
    from pie_core.control.layer import ControlLayer
    from pie_core.control.submission import Submission
    from pie_core.control.swapping import Swapped
    from pie_core.model import ModelInfo

R = TypeVar("R", bound=Resource)

MAX_QUEUES = 1024


class Space:
    """Everything an inferlet holds of one model. Handles are numbers that no other inferlet's handle equals."""

    def __init__(
        self,
        layer: ControlLayer,
        owner: str,
        user: str,
        arrival: int,
        quota: Mapping[type[Resource], int],
        export_limits: ExportLimits,
        budget: Budget,
        now: float,
    ) -> None:
        self.owner = owner  # the inferlet's id, for messages
        self.user = user  # whose namespace exports live in
        self.arrival = arrival
        self.ended: TerminatedError | None = None
        self.queues: dict[int, Queue] = {}
        self.active_at = now  # when it enqueued its last command
        self.swapped: list[Swapped] = []  # what of it is in host memory, or on its way
        self.returned: Sequence[Submission] = ()  # the commands for which something was last brought back
        self.moved_in_vain = False  # it was moved again after it was brought back and before it ran
        self._layer = layer
        self._memory = layer.memory
        self._quota = quota
        self._budget = budget  # of its user
        self.export_limits = export_limits  # of its user
        self.tables: dict[type[Resource], dict[int, Any]] = {kind: {} for kind in layer.kinds}  # by handle

    @property
    def model(self) -> ModelInfo:
        """The model this space belongs to."""
        return self._layer.model

    @property
    def model_kinds(self) -> Sequence[type[Resource]]:
        """The resource kinds there are."""
        return self._layer.kinds

    def create_queue(self) -> int:
        """Handle of a new queue."""
        self.check_alive()
        if len(self.queues) >= MAX_QUEUES:
            raise ResourceError(f"create_queue: an inferlet may have {MAX_QUEUES} queues; reuse some")
        handle = self._fresh(self.queues)
        self.queues[handle] = Queue(handle, self)
        return handle

    def queue(self, handle: int, where: str) -> Queue:
        """The queue behind a handle."""
        queue = self.queues.get(handle) if isinstance(handle, int) else None
        if queue is None:
            raise HandleError(f"{where}: {handle!r} is not a queue of this inferlet")
        return queue

    def call(self, name: str, queue: int | None, arguments: Sequence[Any]) -> Any:
        """Make a declared call: the result, or a `Ticket` if it is a command. Raises `PieError`, nothing done then."""
        return self._layer.call(self, name, queue, arguments)

    def resolve(self, kind: type[R], handles: Sequence[int], where: str) -> tuple[R, ...]:
        """The resources behind handles."""
        table = self.tables[kind]
        try:
            return tuple([table[handle] for handle in handles])
        except (KeyError, TypeError):
            wrong = next(h for h in handles if not (isinstance(h, int) and h in table))
            raise HandleError(
                f"{where}: {wrong!r} is not a {kind.kind} of this inferlet; it was freed before or never allocated"
            ) from None

    def refuse_shared(self, resource: Resource, where: str) -> NoReturn:
        """Explain why a resource that someone else holds too cannot be written."""
        raise HandleError(
            f"{where}: the {resource.kind} is shared with {resource.holders - 1} other holder(s) and thus read-only; "
            "allocate a fresh one and copy_kvpage it first"
        )

    def allocate(self, kind: type[Resource], count: int) -> list[int]:
        """Handles of `count` fresh resources. They may be bound to physical ones later, if the pool is dry now."""
        self._check_quota(kind, count)
        self._budget.check(kind, count, self.holds(kind))
        records = [kind.create(self.model) for _ in range(count)]
        self._budget.charge(kind, records)
        handles = self._adopt(kind, records)  # first, so that they go with the space if it has to give way for them
        self._memory.allocate(self, kind, records)
        return handles

    def free(self, kind: type[Resource], handles: Sequence[int]) -> None:
        """Let go of resources. All or nothing."""
        table = self.tables[kind]
        records = self.resolve(kind, handles, f"dealloc of {kind.kind}")
        if len(set(handles)) < len(handles):
            raise HandleError(f"dealloc of {kind.kind}: a handle is named twice")
        for handle in handles:
            del table[handle]
        self._memory.drop(records)

    def export(self, handles: Sequence[int], name: str, ttl: float | None) -> None:
        """Publish pages under a name in the user's namespace. They become read-only for everyone."""
        pages = self.resolve(KvPage, handles, "export_kvpage")
        if len(set(handles)) < len(handles):
            raise HandleError("export_kvpage: a page is named twice")
        self._memory.export(self, pages, name, ttl)

    def import_(self, name: str) -> list[int]:
        """Handles of pages published under a name, in their order."""
        self._check_quota(KvPage, len(self._memory.exported(self.user, name)))
        return self._adopt(KvPage, self._memory.import_(self.user, name))

    def exports(self) -> list[tuple[Export, float]]:
        """What the user has published, with the age of each in seconds."""
        return self._memory.exports_of(self.user)

    def release(self, name: str) -> None:
        """Withdraw a name; its pages go when nobody holds them."""
        self._memory.release(self.user, name)

    def holds(self, kind: type[Resource]) -> int:
        """How many of a kind are held."""
        return len(self.tables[kind])

    def bound(self, kind: type[Resource]) -> int:
        """How many of those are physical ones now."""
        return sum(record.index != UNBOUND for record in self.tables[kind].values())

    def occupies(self, kind: type[Resource]) -> bool:
        """Whether it holds physical ones, or has freed some that commands of its own still are to touch."""
        return self.bound(kind) > 0 or any(
            type(record) is kind and record.index != UNBOUND
            for submission in self.outstanding()
            for record in (*submission.reads, *submission.writes)
        )

    def unbound(self, kind: type[Resource]) -> int:
        """How many of those are waited for, or in host memory."""
        return self.holds(kind) - self.bound(kind)

    def outstanding(self) -> list[Submission]:
        """The commands of all queues that are not done."""
        return [submission for queue in self.queues.values() for submission in queue.outstanding.values()]

    def unfinished(self) -> list[Submission]:
        """Those that were not launched, or run in steps."""
        return [submission for submission in self.outstanding() if not submission.launched]

    @property
    def has_just_returned(self) -> bool:
        """Whether it was brought back and has not run since."""
        return bool(self.returned) and not any(submission.begun for submission in self.returned)

    def check_alive(self) -> None:
        """Raise why this inferlet was ended, if it was."""
        if self.ended is not None:
            raise self.ended

    def records(self) -> list[Resource]:
        """What is held, once for each handle."""
        return [record for table in self.tables.values() for record in table.values()]

    def surrender(self) -> list[Resource]:
        """Empty the tables and return what was in them; used when the inferlet ends."""
        records = self.records()
        for table in self.tables.values():
            table.clear()
        return records

    def _check_quota(self, kind: type[Resource], count: int) -> None:
        held = len(self.tables[kind])
        there_are = self._memory.capacity[kind]
        limit = min(self._quota.get(kind, there_are if kind.quota is None else kind.quota), there_are)
        if held + count > limit:
            raise ResourceError(
                f"{count} {kind.kind}s asked for, {held} held: over the {limit} that one inferlet may hold; free some, "
                "or start the server with a larger pool"
            )

    def _adopt(self, kind: type[Resource], records: Sequence[Resource]) -> list[int]:
        table = self.tables[kind]
        handles = []
        for record in records:
            handle = self._fresh(table)
            table[handle] = record
            handles.append(handle)
        return handles

    def _fresh(self, table: Mapping[int, object]) -> int:
        """A handle that is not in use; the numbers start anew at four billion."""
        handle = self._layer.next_handle()
        while handle in table:
            handle = self._layer.next_handle()
        return handle
