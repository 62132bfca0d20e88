"""Run a program against a backend, in one line, in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pie_core.application.application import Application
from pie_core.application.capabilities import Capabilities
from pie_core.application.events import Blob, Ended, Message, Output
from pie_core.application.limits import Limits
from pie_core.application.native import NativeTier
from pie_core.application.program import Program
from pie_core.application.services import Services
from pie_core.application.tier import Tier
from pie_core.control.contention import FcfsKill
from pie_core.control.dispatch import Adaptive
from pie_core.control.environment import Environment
from pie_core.control.space import Space
from pie_core.controller import Settings, load_model
from pie_core.errors import TerminatedError
from pie_core.inference.backend import Backend, HandlerSpec
from pie_core.inference.device import ThreadDevice
from pie_core.loaded import LoadedModel, assemble
from pie_core.plugins import Selection
from pie_core.registry import Registry, load_registry, realize
from pie_core.testing.fake import FakeBackend, fake_handlers


@dataclass
class Outcome:
    """What a client would have seen, in order, and how the program ended."""

    ended: Ended
    messages: list[str] = field(default_factory=list)
    blobs: list[bytes] = field(default_factory=list)
    output: str = ""


def fake_model(
    backend: Backend | None = None,
    registry: Registry | None = None,
    handlers: Sequence[HandlerSpec] | None = None,
    evicted: Callable[[Space, TerminatedError], None] = lambda space, why: None,
) -> LoadedModel:
    """A loaded model over a `FakeBackend` (or another) and the installed traits. Needs a running event loop."""
    backend = backend or FakeBackend()
    loop = asyncio.get_running_loop()
    return assemble(
        backend,
        realize(registry or load_registry(Selection()), handlers or fake_handlers(), "fake", backend),
        lambda realized: ThreadDevice(realized.routes, loop.call_soon_threadsafe, realized.rides),
        Environment(time.monotonic, loop.call_soon, evicted, loop.call_later),
        Adaptive(),
        FcfsKill(),
    )


async def installed_model(model: str | None = None, backend: str | None = None, **options: object) -> LoadedModel:
    """A model plugin or checkpoint directory on an installed backend, as `pie-core run` loads it.

    options: of the backend, as `--option` has them. It serves programs of the event loop that it was made in; a
    conformance suite takes it also when that has ended. Whoever asks closes it. Raises `PieError`.
    """
    chosen = Settings(model, backend, {name: str(value) for name, value in options.items()})
    return await load_model(chosen, evicted=lambda space, why: None, progress=lambda stage, share: None)


async def run_inferlet(
    program: str | Path,
    arguments: Sequence[str] = (),
    messages: Sequence[str] = (),
    models: Mapping[str, LoadedModel] | None = None,
    limits: Limits | None = None,
    tier: Tier | None = None,
    capabilities: Capabilities | None = None,
    services: Services | None = None,
    sandbox: Callable[[], Tier] | None = None,
    blobs: Sequence[bytes] = (),
) -> Outcome:
    """Run source text or a file to its end, delivering `messages` first; `blobs` are there before it begins.

    models: one `FakeBackend` unless given. tier: the trusted one unless given; it is closed afterwards.
    capabilities: what it may be granted; nothing unless given. sandbox: see `Application`.
    """
    own = fake_model() if models is None else None
    served = dict(models) if own is None else {own.info.name: own}  # type: ignore[arg-type]
    try:
        application = Application(
            served, tier or NativeTier(), limits, capabilities=capabilities, services=services, sandbox=sandbox
        )
        async with application:
            inferlet = await application.launch(_program(program), arguments, blobs=blobs)
            for message in messages:
                inferlet.deliver(message)
            return await _collect(inferlet.events)
    finally:
        if own is not None:
            own.close()


def _program(program: str | Path) -> Program:
    if isinstance(program, Path):
        return Program(program.stem, program.read_text("utf-8"), str(program))
    return Program("test", program, "test.py")


async def _collect(events: Any) -> Outcome:
    outcome = Outcome(Ended("failed", error="no outcome"))
    while True:
        ticket, arrived = events.get(), asyncio.Event()
        ticket.watch(lambda _, arrived=arrived: arrived.set())
        await arrived.wait()
        match ticket.result():
            case Message(text=text):
                outcome.messages.append(text)
            case Blob(data=data):
                outcome.blobs.append(data)
            case Output(text=text):
                outcome.output += text
            case Ended() as ended:
                outcome.ended = ended
                return outcome
