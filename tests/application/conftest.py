"""An application over a `FakeBackend`, and what a client sees of it."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from pie_core.application.application import Application
from pie_core.application.events import Message
from pie_core.application.native import NativeTier
from pie_core.application.program import Program
from pie_core.testing import FakeBackend, fake_model

PROLOGUE = """
from inferlet import *
import asyncio

def use_everything():
    q = get_auto_model().create_queue()
    pages, embeds = alloc_kvpage(q, 3), alloc_emb(q, 6)
    embed_txt(q, list(range(6)), list(range(6)), embeds)
    forward(q, [], embeds, pages, embeds[:1])
    return q, pages, embeds
"""


class Server:
    """One application with one model. `launch` adds the prologue above."""

    def __init__(self, application, model):
        self.application, self.model = application, model

    async def launch(self, source, *arguments, user="local"):
        return await self.application.launch(Program("test", PROLOGUE + source, "test.py"), arguments, user)

    async def event(self, inferlet):
        return await arrival(inferlet.events.get())

    async def message(self, inferlet):
        """The text of the next message; fails with the program's own error if it ended."""
        event = await self.event(inferlet)
        assert isinstance(event, Message), event
        return event.text

    async def ended(self, inferlet):
        return await arrival(inferlet.ended)

    async def run(self, source, *arguments):
        return await self.ended(await self.launch(source, *arguments))

    async def assert_nothing_is_left(self):
        """Every page, Embed, space, inferlet and task is gone, once the wave in flight and the cancelled have ended."""
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=5)
        for _ in range(10_000):
            if all(pool.free == pool.capacity for pool in self.model.layer.pools.values()):
                break
            await asyncio.sleep(0)
        assert {kind.kind: pool.free for kind, pool in self.model.layer.pools.items()} == {
            kind.kind: pool.capacity for kind, pool in self.model.layer.pools.items()
        }
        assert all(pool.draining == 0 and pool.wanted == 0 for pool in self.model.layer.pools.values())
        assert self.model.layer.spaces == {} and self.application.inferlets == {}
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def arrival(ticket):
    arrived = asyncio.Event()
    ticket.watch(lambda _: arrived.set())
    await asyncio.wait_for(arrived.wait(), 20)
    return ticket.result()


@asynccontextmanager
async def _serving(limits=None, quotas=None, capabilities=None, **backend):
    application = None
    model = fake_model(FakeBackend(**backend), evicted=lambda space, why: application.evicted(space, why))
    try:
        async with Application(
            {"fake": model}, NativeTier(), limits, capabilities=capabilities, quotas=quotas
        ) as application:
            yield Server(application, model)
    finally:
        model.close()


@pytest.fixture
def scene():
    """`scene(play, limits, quotas, **backend)` runs `await play(server)` and checks that nothing is left of it."""

    def run(play, limits=None, quotas=None, **backend):
        async def main():
            async with _serving(limits, quotas, **backend) as server:
                result = await play(server)
                await server.assert_nothing_is_left()
                return result

        return asyncio.run(main())

    return run


@pytest.fixture
def serving():
    """`async with serving(limits, quotas, **backend) as server`: without the checks of `scene`."""
    return _serving
