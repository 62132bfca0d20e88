"""Programs whose contexts generate, on a model without weights: what they say, and what that took.

For packages whose traits draw tokens on the server: an answer must be the same with the trait and without it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pie_core.application.events import Ended
from pie_core.loaded import LoadedModel
from pie_core.plugins import Selection
from pie_core.registry import load_handlers, load_registry
from pie_core.testing import FakeBackend, fake_handlers, fake_model, run_inferlet
from pie_core.testing.fake import FakeHandler

PROGRAM = """
from inferlet import *
import asyncio, json

HEAD

async def main():
    model = get_auto_model()
    said = []
    with model.create_context() as context:
        await context.fill("What is it?")
BODY
        said.append(list(context.tokens))
        said.append((await context.next_dist(4)).ids)
        await context.fill(" And then?")
        said.append((await context.next_dist(4)).ids)
    return json.dumps(said)
"""


def program(body: str, head: str = "") -> str:
    """One that does `body` with a `context` and notes in `said` what comes of it, then in what state the context is."""
    lines = "\n".join(f"        {line}" for line in body.strip().splitlines())
    return PROGRAM.replace("HEAD", head).replace("BODY", lines)


class Answering:
    """The fake model with the plugins of a selection, in an event loop of its own. passes: commands that ran tokens.

    answer: what it recites. Close it.
    """

    def __init__(self, selection: Selection, pages: int = 1200, answer: str | None = None) -> None:
        self.passes: list[Any] = []
        passes = self.passes

        class Counting(FakeHandler):
            def forward(self, batch: Sequence[Any]) -> None:
                passes.extend(batch)
                super().forward(batch)

        async def load() -> LoadedModel:
            specs = [replace(spec, build=Counting) for spec in fake_handlers()] + load_handlers("fake", "", selection)
            backend = FakeBackend(page_size=4, pages=pages, embeds=1200, answer=answer, adapters=("loud",))
            return fake_model(backend, load_registry(selection), specs)

        self._runner = asyncio.Runner()
        self.model = self._runner.run(load())

    def close(self) -> None:
        """Close the model."""
        self._runner.run(asyncio.to_thread(self.model.close))
        self._runner.close()

    def run(self, programs: Sequence[str]) -> list[Ended]:
        """How programs end that run at the same time; nothing is left of them."""

        async def main() -> list[Ended]:
            started = (run_inferlet(one, models={"fake": self.model}) for one in programs)
            outcomes = await asyncio.gather(*started)
            while any(pool.draining for pool in self.model.layer.pools.values()):
                await asyncio.sleep(0)
            return [outcome.ended for outcome in outcomes]

        ended = self._runner.run(main())
        assert all(pool.free == pool.capacity for pool in self.model.layer.pools.values())
        return ended

    def finished(self, *programs: str) -> list[Any]:
        """What programs returned that run at the same time."""
        all_ended = self.run(programs)
        assert [ended.error for ended in all_ended if ended.status != "finished"] == []
        return [json.loads(ended.value or "null") for ended in all_ended]

    def counts(self) -> Counter[str]:
        """How many commands there were of each kind, and passes."""
        kinds = {name: counter.commands for name, counter in self.model.layer.statistics.calls.items()}
        return Counter(kinds | {"passes": len(self.passes)})
