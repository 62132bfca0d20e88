"""The one program that every simulated inferlet runs: it interprets its operations, and notes what each came to.

It knows no more than a program can know: its handles, and what it has written where. A note says nothing that depends
on timing, so that a run beside others must give the notes of a run alone. Where timing shows all the same, notes from
there on begin with `~`. A note that begins with `!` is a wrong answer, whatever else happens.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from inferlet import calls
from inferlet.errors import HandleError, PieError, ResourceError, TerminatedError

from pie_core.testing.simulation.faults import BAD_DISTS, BAD_INPUTS, BAD_TOKENS
from pie_core.testing.simulation.holder import Holder, handles, pick, room
from pie_core.testing.simulation.lingerer import Lingerer
from pie_core.testing.simulation.stage import Page, Stage, copy, fill, stage
from pie_core.testing.simulation.world import Operation

SOURCE = """
from pie_core.testing.simulation.guest import play

async def main():
    return await play()
"""


_FOR_EVER = 1e6  # seconds


class Left(Exception):  # noqa: N818  # not an error
    """The program returns early."""


async def play() -> str:
    """Run the operations of this inferlet's stage."""
    mine = stage.get()
    actor = Actor(mine, "")
    try:
        await actor.perform(mine.operations)
    except Left:
        return "left early"
    return "done"


class Actor(Lingerer):
    """One task of the program: what it does with what it holds."""

    def __init__(self, scene: Stage, path: str, parent: Holder | None = None) -> None:
        super().__init__(scene, path, parent)
        self._notes = scene.notes.setdefault(path, [])
        self._later: list[Any] = []
        self._orphans: list[asyncio.Task[None]] = []
        self._children = 0

    async def perform(self, operations: Sequence[Operation]) -> None:
        """One after the other; errors of calls are noted."""
        for verb, *arguments in operations:
            try:
                outcome = await getattr(self, f"_{verb}")(*arguments)
            except TerminatedError:
                self._scene.over = True
                if self._path or not self._scene.patience:
                    raise
            except PieError as error:
                outcome = error.code
            except asyncio.CancelledError:
                if self._path or not self._scene.patience:
                    raise
                self._scene.over = True
                await self._stay()
            if not self._scene.over:
                self._note(f"{verb} {outcome}")

    async def _stay(self) -> None:
        """Stay, though it was cancelled, until patience is at an end."""
        while self._scene.patience:
            self._scene.patience -= 1
            try:
                await asyncio.sleep(_FOR_EVER)
            except asyncio.CancelledError:
                if not self._scene.patience:
                    raise

    # commands

    async def _embed(self, queue: int, tokens: tuple[int, ...], first: int, place: int, wait: bool) -> str:
        chosen = pick(self._embeds, range(place, place + len(tokens)))
        tokens = tokens[: len(chosen)]
        positions = list(range(first, first + len(tokens)))
        future = calls.embed_txt(self._line(queue), list(tokens), positions, handles(chosen))
        for vector, token, position in zip(chosen, tokens, positions, strict=True):
            vector.position, vector.fails = position, token in BAD_INPUTS
        return await self._settle(self._enqueue(queue, future), wait, fails=bool(BAD_TOKENS & set(tokens)))

    async def _forward(
        self,
        queue: int,
        context: tuple[int, ...],
        inputs: tuple[int, ...],
        targets: tuple[int, ...],
        hidden: tuple[int, ...],
        masked: int | None,
        wait: bool,
    ) -> str:
        written = [vector for vector in self._embeds if vector.position is not None]
        if not written:
            return "nothing to run"
        pages = pick(self._readable(), context)
        tokens = [written[place % len(written)] for place in inputs]
        outputs = pick(self._roomy(), targets)
        results = pick(self._embeds, hidden)[: len(tokens)]
        mask = None
        if masked is not None and all(page.used is not None for page in pages):
            draw = random.Random(masked)
            columns = sum((page.used or 0).bit_count() for page in pages) + len(tokens)
            mask = [[draw.random() < 0.7 for _ in range(columns)] for _ in tokens]
        future = calls.forward(
            self._line(queue), handles(pages), handles(tokens), handles(outputs), handles(results), mask
        )
        fails = any(vector.fails for vector in tokens)
        positions = [vector.position or 0 for vector in tokens]
        fill(outputs, len(tokens), self._size)
        for vector, position in zip(results, positions[len(positions) - len(results) :], strict=True):
            vector.position, vector.fails = position + 1, False
        return await self._settle(self._enqueue(queue, future), wait, fails)

    async def _decode(self, queue: int, count: int, top_k: int) -> str:
        """What most programs do: run a token, look at the distribution, take the likeliest, and again."""
        if not self._embeds:
            return "nothing to run"
        line, last = self._line(queue), self._embeds[-1]
        found: list[int] = []
        if last.position is None or last.fails:
            calls.embed_txt(line, [7], [3], [last.handle])
            last.position, last.fails = 3, False
        for _ in range(count):
            roomy = [page for page in self._own() if room(page, self._size)]
            if not roomy:
                return f"{found}, and no room"
            calls.forward(line, handles(self._readable()), [last.handle], [roomy[0].handle], [last.handle])
            fill(roomy[:1], 1, self._size)
            last.position = (last.position or 0) + 1
            dist = await calls.get_next_dist(line, [last.handle], top_k)
            found.append(dist.max_index())
            calls.embed_txt(line, [dist.max_index() % 200], [last.position], [last.handle])
        return f"{found}"

    async def _copy(
        self,
        queue: int,
        sources: tuple[int, ...],
        targets: tuple[int, ...],
        source_start: int,
        target_start: int,
        length: int | None,
        wait: bool,
    ) -> str:
        source, target = pick(self._readable(), sources), pick(self._own(), targets)
        pairs = list(zip(source, target, strict=False))
        future = calls.copy_kvpage(
            self._line(queue),
            [one.handle for one, _ in pairs],
            [other.handle for _, other in pairs],
            source_start,
            target_start,
            length,
        )
        for one, other in pairs:
            copy(one, other, source_start, target_start, length)
        return await self._settle(
            self._enqueue(queue, future), wait, fails=bool(pairs) and (source_start, length) == (1, 0)
        )

    async def _mask(self, places: tuple[int, ...], bits: int) -> str:
        pages = pick(self._own(), places)
        shown = [bool(bits >> place & 1) for place in range(self._size * len(pages))]
        calls.mask_kvpage(self._queues[0], handles(pages), shown)
        for place, page in enumerate(pages):
            page.hidden = (page.used or 0) & ~(bits >> place * self._size)
        return f"{len(pages)}"

    async def _dist(self, queue: int, place: int, top_k: int, how: str) -> str:
        written = [vector for vector in self._embeds if vector.position is not None]
        if not written:
            return "nothing to see"
        vector = written[place % len(written)]
        future = calls.get_next_dist(self._line(queue), [vector.handle], top_k)
        self._enqueue(queue, future)
        self._scene.tainted |= top_k in BAD_DISTS and how != "await"
        if how == "later":
            self._later.append((future, top_k))
        if how != "await":
            return how
        return _shown(await future, top_k)

    async def _collect(self) -> str:
        waiting, self._later = self._later, []
        return ", ".join([_shown(await future, top_k) for future, top_k in waiting])

    # sharing

    async def _export(self, places: tuple[int, ...], name: str, ttl: float | None) -> str:
        pages = pick(self._own(busy=True), places)
        calls.export_kvpage(handles(pages), name, ttl)
        if any(page.stays for page in pages):
            self._scene.unsure.add(name)
        for page in pages:
            page.shared, page.export = True, name if ttl is None else None
        return f"{len(pages)}"

    async def _import(self, name: str, tries: int) -> str:
        for _ in range(tries):
            try:
                given = self._given(calls.import_kvpage(name))
            except HandleError:
                await calls.sleep(0.01)
            else:
                self._pages += [Page(handle, None, shared=True) for handle in given]
                return f"{name} {len(given)}"
        return f"{name} is not there"

    async def _release(self, name: str) -> str:
        calls.release_kvpage(name)
        for page in self._pages:
            page.export = None if page.export == name else page.export
        return "ok"

    async def _exported(self) -> str:
        found = calls.exported_kvpages()
        return "!wrong counts" if any(export.pages < 0 or export.tokens < 0 for export in found) else "ok"

    async def _tidy(self) -> str:
        for export in calls.exported_kvpages():
            calls.release_kvpage(export.name)
        return "ok"

    # messages and time

    async def _send(self) -> str:
        line = (
            "tainted" if self._scene.tainted else hashlib.blake2b(repr(self._notes).encode(), digest_size=6).hexdigest()
        )
        text = f"{len(self._scene.sent)} {line}"
        try:
            calls.send(text)
        except ResourceError:
            if not self._scene.lossy:
                raise
        else:
            self._scene.sent.append(text)
        return "."

    async def _receive(self) -> str:
        self._scene.received.append(await calls.receive())
        return "."

    async def _receive_within(self, seconds: float) -> str:
        with suppress(TimeoutError):
            self._scene.received.append(await asyncio.wait_for(calls.receive(), seconds))
        return "."

    async def _sleep(self, seconds: float) -> str:
        await calls.sleep(seconds)
        return "."

    # structure

    async def _branches(self, *programs: tuple[Operation, ...]) -> str:
        actors = [self._child() for _ in programs]
        tasks = [actor.perform(program) for actor, program in zip(actors, programs, strict=True)]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, TerminatedError):
                raise outcome
        return ", ".join("ok" if outcome is None else type(outcome).__name__ for outcome in outcomes)

    async def _cancelled(self, seconds: float, program: tuple[Operation, ...]) -> str:
        """A task that the program cancels: how far it comes is a matter of timing."""
        actor = self._child()
        self._scene.partial.add(actor._path)
        task = asyncio.create_task(actor.perform(program))
        try:
            await asyncio.sleep(seconds)
        finally:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return "."

    async def _orphan(self) -> str:
        """A task that nobody waits for."""
        self._orphans.append(asyncio.create_task(asyncio.sleep(_FOR_EVER)))
        return "."

    async def _leave(self) -> str:
        raise Left

    async def _raise(self) -> str:
        raise RuntimeError("the program's own mistake")

    async def _exit(self) -> str:
        raise SystemExit(3)

    async def _stubborn(self, times: int) -> str:
        self._scene.patience = times
        return "."

    def _note(self, text: str) -> None:
        if "!" in text:
            text = f"!{text}"
        self._notes.append(f"~{text}" if self._scene.tainted else text)

    def _child(self) -> Actor:
        self._children += 1
        return Actor(self._scene, f"{self._path}.{self._children}", self)


def _shown(dist: Any, top_k: int) -> str:
    wrong = len(dist.ids) != top_k or sorted(dist.probs, reverse=True) != list(dist.probs)
    return "!not a distribution" if wrong else f"{list(dist.ids)[:3]}"
