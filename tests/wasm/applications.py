"""An application over a `FakeBackend`, in the sandbox unless told otherwise."""

import asyncio
from contextlib import asynccontextmanager

from pie_core.application.application import Application
from pie_core.application.events import Output
from pie_core.application.wasm.cache import ComponentCache
from pie_core.application.wasm.tier import WasmTier
from pie_core.testing import FakeBackend, fake_model


@asynccontextmanager
async def serving(directory, tier=None, limits=None, without=(), **backend):
    """`directory` is for compiled components; `without` are traits that the model lacks."""
    model = fake_model(FakeBackend(**backend))
    for trait in without:
        del model.realization.traits[trait]
        model.realization.reasons[trait] = "the backend cannot do it"
    try:
        tier = tier or WasmTier(model.known_traits, ComponentCache(directory / "components"))
        async with Application({"fake": model}, tier, limits) as application:
            yield application
    finally:
        model.close()


async def run(application, program, *arguments):
    """How it ended."""
    inferlet = await application.launch(program, arguments)
    arrived = asyncio.Event()
    inferlet.ended.watch(lambda _: arrived.set())
    await asyncio.wait_for(arrived.wait(), 20)
    return inferlet.outcome


async def run_and_read(application, program, *arguments):
    """What it showed, and how it ended."""
    inferlet = await application.launch(program, arguments)
    shown = []
    while True:
        arrived = asyncio.Event()
        event = inferlet.events.get()
        event.watch(lambda _, arrived=arrived: arrived.set())
        await asyncio.wait_for(arrived.wait(), 20)
        if not isinstance(event.result(), Output):
            return "".join(shown), event.result()
        shown.append(event.result().text)


def play(directory, test, **settings):
    """Run `await test(application)`; its result."""

    async def whole():
        async with serving(directory, **settings) as application:
            return await test(application)

    return asyncio.run(whole())
