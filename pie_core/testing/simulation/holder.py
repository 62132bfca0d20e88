"""What one task of a simulated program holds: its queues, pages and Embeds, and mistakes with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import inferlet
from inferlet import calls
from inferlet.errors import ArgumentError, DeviceError, ResourceError

from pie_core.testing.simulation.stage import Page, Stage, Vector

T = TypeVar("T")


class Holder:
    """A task with queues, pages and Embeds of its own. It may read its parent's pages. A verb is a method `_verb`."""

    def __init__(self, scene: Stage, path: str, parent: Holder | None = None) -> None:
        self._scene = scene
        self._path = path
        self._model = inferlet.get_auto_model()
        self._size: int = self._model.kvpage_size
        self._queues = [self._new_queue()]
        self._pages: list[Page] = []
        self._embeds: list[Vector] = []
        self._enqueued: dict[int, list[Any]] = {}  # futures by queue, since the last synchronize
        self._stale: list[int] = []  # handles of pages that were freed
        self._context: list[Page] = [] if parent is None else parent._readable()

    # queues

    async def _queue(self, priority: int) -> str:
        if len(self._queues) < 3:
            self._queues.append(self._new_queue())
        calls.set_queue_priority(self._queues[-1], priority)
        return "ok"

    async def _priority(self, queue: int, priority: int) -> str:
        calls.set_queue_priority(self._line(queue), priority)
        return "ok"

    async def _synchronize(self, queue: int) -> str:
        line, outcome = self._line(queue), "ok"
        before = self._enqueued.pop(line.handle, [])
        try:
            await calls.synchronize(line)
        except DeviceError as error:
            outcome = error.code
        await self._end(before)
        return outcome if all(future.done for future in before) else "!too early"

    # memory

    async def _pages_wanted(self, count: int) -> str:
        fresh = [Page(handle) for handle in self._given(calls.alloc_kvpage(self._queues[0], count))]
        self._scene.pages |= {page.handle: page for page in fresh}
        self._pages += fresh
        return f"{count}"

    async def _embeds_wanted(self, count: int) -> str:
        fresh = [Vector(handle) for handle in self._given(calls.alloc_emb(self._queues[0], count))]
        self._scene.embeds |= {embed.handle: embed for embed in fresh}
        self._embeds += fresh
        return f"{count}"

    async def _free_pages(self, *places: int) -> str:
        chosen = pick(self._pages, places)
        calls.dealloc_kvpage(self._queues[0], handles(chosen))
        self._pages = [page for page in self._pages if page not in chosen]
        self._stale += handles(chosen)
        for page in chosen:
            self._scene.pages.pop(page.handle, None)
        return f"{len(chosen)}"

    async def _pages_again(self, *places: int) -> str:
        freed = int(await self._free_pages(*places))
        for _ in range(freed):
            await self._pages_wanted(1)
        return f"{freed}"

    async def _free_embeds(self, *places: int) -> str:
        chosen = pick(self._embeds, places)
        calls.dealloc_emb(self._queues[0], handles(chosen))
        self._embeds = [embed for embed in self._embeds if embed not in chosen]
        for embed in chosen:
            del self._scene.embeds[embed.handle]
        return f"{len(chosen)}"

    # wrong calls

    async def _wrong(self, which: str, number: int) -> str:
        q, target = self._queues[0], handles(self._own()[:1])
        stale = self._stale[number % len(self._stale)] if self._stale else 0
        foreign = next(handle for handle in range(number, number + 10_000) if handle not in self._scene.handles)
        attempts: dict[str, Callable[[], Any]] = {
            "stale page": lambda: calls.dealloc_kvpage(q, [stale]),
            "foreign page": lambda: calls.dealloc_kvpage(q, [foreign]),
            "foreign page to read": lambda: calls.copy_kvpage(q, [foreign], target or [foreign]),
            "foreign embed": lambda: calls.get_next_dist(q, [foreign], 3),
            "foreign queue": lambda: calls.synchronize(inferlet.Queue(q.model_name, foreign)),
            "twice": lambda: calls.dealloc_kvpage(q, handles(self._pages[:1]) * 2 or [stale]),
            "too many": lambda: calls.alloc_kvpage(q, 10_000),
            "type": lambda: calls.embed_txt(q, ["x"], [0], [1]),
            "no name": lambda: calls.release_kvpage("nobody's"),
            "mask": lambda: calls.mask_kvpage(q, target * 2, [True]),
        }
        try:
            attempts[which]()
        except (ArgumentError, ResourceError) as error:
            return f"{which} {error.code}"
        return f"{which} !accepted"

    # what all share

    def _new_queue(self) -> inferlet.Queue:
        queue = self._model.create_queue()
        self._given([queue.handle])
        return queue

    def _given(self, handles: list[int]) -> list[int]:
        self._scene.handles |= {int(handle) for handle in handles}
        return handles

    async def _settle(self, future: Any, wait: bool, fails: bool) -> str:
        if not wait:
            self._scene.tainted |= fails  # whether others are refused or skipped after this depends on timing
            return "."
        await future
        return "!it ran" if fails else "ok"

    async def _end(self, futures: Sequence[Any]) -> list[str]:
        """Wait for those of them that run in steps: what each came to."""
        outcomes = []
        for future in futures:
            pages = [page for page in self._pages if any(stay.future is future for stay in page.stays)]
            if not pages:
                continue
            outcome = "ok"
            try:
                await future
            except DeviceError as error:
                outcome = error.code
            for page in pages:
                page.end(future, well=outcome == "ok")
            outcomes.append(outcome)
        return outcomes

    def _enqueue(self, queue: int, future: Any) -> Any:
        self._enqueued.setdefault(self._line(queue).handle, []).append(future)
        return future

    def _line(self, place: int) -> Any:
        return self._queues[place % len(self._queues)]

    def _own(self, busy: bool = False) -> list[Page]:
        """Pages that may be written, or such as surely may not; busy: those too that something in steps writes."""
        mine = [page for page in self._pages if not page.shared and (busy or not page.stays)]
        return mine or [page for page in self._pages if page.export is not None]

    def _roomy(self) -> list[Page]:
        """Those with free slots, of which it is known which are next; if there are none, others."""
        own = [page for page in self._own(busy=True) if not self._scene.tainted or not page.stays]
        roomy = [page for page in own if all(stay.sure for stay in page.stays) and room(page, self._size)]
        return roomy or self._own()

    def _readable(self) -> list[Page]:
        return [page for page in (*self._context, *self._pages) if not page.stays]


def pick(things: Sequence[T], places: Sequence[int]) -> list[T]:
    """The things at these places, counted round and round, each once."""
    return [things[place] for place in dict.fromkeys(place % len(things) for place in places)] if things else []


def handles(things: Sequence[Page | Vector]) -> list[int]:
    """Their handles."""
    return [thing.handle for thing in things]


def room(page: Page, size: int) -> int:
    """Free slots, as far as is known; none in one that may not be written."""
    return 0 if page.shared or page.used is None else size - (page.used | page.reserved).bit_count()
