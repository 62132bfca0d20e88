"""What a simulated program does with a command that runs in steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inferlet import calls

from pie_core.testing.simulation.holder import Holder, handles, pick
from pie_core.testing.simulation.stage import Page, Stay, bits, free_slots


class Lingerer(Holder):
    """A task that makes such calls, and knows of each page what may still be under way."""

    async def _linger(
        self,
        queue: int,
        context: tuple[int, ...],
        inputs: tuple[int, ...],
        targets: tuple[int, ...],
        result: int,
        sizes: tuple[int, int, int],
        fails_at: int | None,
        wait: bool,
    ) -> str:
        """sizes: steps, slots that are reserved, and slots that are filled."""
        written = [vector for vector in self._embeds if vector.position is not None]
        if not written:
            return "nothing to look at"
        steps, count, filled = sizes
        chosen, target = pick(written, inputs), pick(self._embeds, [result])
        pages, outputs = pick(self._readable(), context), pick(self._roomy(), targets)
        slots = free_slots(outputs, count, self._size)
        filled = min(filled, len(slots))
        future = calls.linger(
            self._line(queue),
            handles(pages),
            handles(chosen),
            handles(outputs),
            handles(target),
            *(steps, len(slots), filled, fails_at),
        )
        target[0].position, target[0].fails = max(vector.position or 0 for vector in chosen) + filled, False
        self._reserve(self._enqueue(queue, future), slots, filled, sure=filled == len(slots) and fails_at is None)
        if not wait:
            return await self._settle(future, wait, fails=fails_at is not None)
        await self._end([future])
        return f"!it ran to {await future}" if fails_at is not None else f"{(await future)[-3:]}"

    async def _rest(self) -> str:
        """Wait for all that runs in steps."""
        futures = list(dict.fromkeys(stay.future for page in self._pages for stay in page.stays))
        return f"{await self._end(futures)}"

    def _reserve(self, future: Any, slots: Sequence[tuple[Page, int]], filled: int, sure: bool) -> None:
        """What runs in steps may fill these slots, the first of them surely."""
        for page in {id(page): page for page, _ in slots}.values():
            mine = [(place, 1 << slot) for place, (other, slot) in enumerate(slots) if other is page]
            reserved, full = bits(bit for _, bit in mine), bits(bit for place, bit in mine if place < filled)
            page.stays.append(Stay(future, reserved, full, sure))
