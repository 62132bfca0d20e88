"""Runs one world: the true application and control layer on a virtual loop, watched after every step."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from pie_core.application.application import Application
from pie_core.application.events import Ended
from pie_core.application.inferlet import Inferlet
from pie_core.application.limits import Limits
from pie_core.application.native import NativeTier
from pie_core.application.program import Program
from pie_core.control.environment import Environment
from pie_core.control.observer import Observer
from pie_core.control.space import Space
from pie_core.errors import TerminatedError
from pie_core.loaded import LoadedModel, assemble
from pie_core.registry import realize
from pie_core.testing.fake import FakeBackend, fake_handlers
from pie_core.testing.simulation.clients import attend
from pie_core.testing.simulation.device import SimulatedDevice
from pie_core.testing.simulation.faults import Workshop
from pie_core.testing.simulation.guest import SOURCE
from pie_core.testing.simulation.installed import Installed
from pie_core.testing.simulation.ledger import Ledger
from pie_core.testing.simulation.linger import linger_handler
from pie_core.testing.simulation.loop import VirtualLoop
from pie_core.testing.simulation.moves import Moves
from pie_core.testing.simulation.stage import Stage, stage
from pie_core.testing.simulation.trace import Trace
from pie_core.testing.simulation.watch import Violation, Watch
from pie_core.testing.simulation.watched import WatchedContention, WatchedDispatch
from pie_core.testing.simulation.world import Visit, World
from pie_core.trait import Trait

Observe = Callable[[Callable[[], float], Iterable[Trait]], Observer]

_PROGRAM = Program("simulated", SOURCE, "simulated.py")


class _Tier(NativeTier):
    """The trusted tier; it hands each program its stage."""

    def __init__(self, stages: dict[str, Stage]) -> None:
        super().__init__()
        self._stages = stages

    async def run(self, host: Any) -> str | None:
        stage.set(self._stages[host.inferlet.id])
        return await super().run(host)


class Run:
    """One run of a world. `watch.log` tells what happened, `traces` what each inferlet came to.

    observe: makes the observer of the control layer, of the loop's clock and the traits; none unless given.
    """

    def __init__(self, world: World, installed: Installed, observe: Observe | None = None) -> None:
        self.world = world
        self.traces: list[Trace] = []
        self._stages: dict[str, Stage] = {}
        draw = random.Random(world.seed)
        shuffle = random.Random(draw.random()) if world.shuffled else None
        self.loop = VirtualLoop(self._observe, lambda: self.watch.check_rest(), shuffle)
        self.watch = Watch(self.loop, self._stages)
        self._model = self._assemble(installed, draw, observe)
        limits = Limits(
            wall_s=world.wall_s,
            kvpages=world.kvpage_quota,
            embeds=world.embed_quota,
            inbox_messages=world.inbox,
            outbox_messages=world.outbox,
        )
        names = (f"i{number}" for number in count())
        self.application = Application({"fake": self._model}, _Tier(self._stages), limits, lambda: next(names))

    def _assemble(self, installed: Installed, draw: random.Random, observe: Observe | None) -> LoadedModel:
        world, loop, watch = self.world, self.loop, self.watch
        backend = FakeBackend(world.pages, world.embeds, world.page_size, batch=world.batch_limit)
        realization = realize(installed.registry, [*fake_handlers(), linger_handler()], "fake", backend)
        failing = {"swap_out": world.swap_out_fails, "swap_in": world.swap_in_fails}
        workshop = Workshop(backend, realization.routes, failing)
        contention = WatchedContention(installed.make_contention(world.contention), watch.complain)
        assert backend.swapper is not None
        moves = Moves(backend.swapper, contention.host_bytes, workshop.failed, watch.complain)
        ledger = watch.ledger = Ledger(workshop, backend.batch_limit, moves, watch.complain, watch.lost)
        dispatch = WatchedDispatch(installed.make_dispatch(world.dispatch), ledger, watch.complain)
        model = assemble(
            backend,
            realization,
            lambda _: SimulatedDevice(
                workshop, realization.rides, ledger, loop, draw, world.wave_s, world.swap_s, watch.told, watch.tell
            ),
            Environment(loop.time, watch.soon, self._evicted, watch.later),
            dispatch,
            contention,
        )
        if observe is not None:
            model.layer.observers.add(observe(loop.time, realization.traits.values()))
        watch.attach(model.layer, dispatch, contention)
        return model

    def go(self) -> Run:
        """Run to the end. Raises `Violation`."""
        try:
            self.loop.run_until_complete(self._play())
            self.watch.report()
        except Violation:
            raise
        except Exception as error:
            raise Violation(f"{type(error).__name__}: {error}") from error
        finally:
            self.loop.discard()
        return self

    # what happens between two steps

    def _observe(self) -> None:
        self.watch.check()
        for trace in self.traces:
            self._look_at(trace)
        self.watch.report()

    def _look_at(self, trace: Trace) -> None:
        inferlet = trace.inferlet
        if inferlet is None or trace.ended is not None:
            return
        if inferlet.outcome is not None:
            trace.ended = inferlet.outcome
            self._note_wall(trace, inferlet.outcome)
            self.watch.say(f"{inferlet.id} ended: {trace.cause or 'by itself'}, {inferlet.outcome.status}")
        elif self.loop.steps - trace.launched_at >= trace.visit.stop_after:
            self._stop(trace)

    def _note_wall(self, trace: Trace, outcome: Ended) -> None:
        late = self.loop.time() >= trace.started_s + self.world.wall_s
        if trace.cause is None and late and "ran longer" in (outcome.error or ""):
            trace.cause = "wall"

    def _stop(self, trace: Trace) -> None:
        assert trace.inferlet is not None
        self.watch.tell(f"{trace.inferlet.id} is stopped")
        trace.cause = "stop"
        self.application.stop(trace.inferlet, "the simulation says so")

    def _evicted(self, space: Space, why: TerminatedError) -> None:
        self.watch.say(f"{space.owner} gives way")
        for trace in self.traces:
            if trace.inferlet is not None and trace.inferlet.id == space.owner and trace.ended is None:
                trace.cause = trace.cause or "evict"
        self.application.evicted(space, why)

    # the plot

    async def _play(self) -> None:
        tasks = []
        self.traces = [Trace(visit, self._stage(visit)) for visit in self.world.visits]
        if self.world.shut_down_at is not None:
            tasks.append(asyncio.create_task(self._shut_down(self.world.shut_down_at)))
        for trace in self.traces:
            tasks.append(asyncio.create_task(attend(self, trace)))
            if self.world.serial:
                await tasks[-1]
        for task in tasks:
            await task
        await self._drain()
        for user in dict.fromkeys(visit.user for visit in self.world.visits):
            visit = Visit((("tidy",),), user)
            janitor = Trace(visit, self._stage(visit))
            self.traces.append(janitor)
            await attend(self, janitor)
        await self._drain()
        await self.application.shut_down("the simulation ends")
        await asyncio.sleep(1.0)  # the last attempts to cancel
        self._check_end()

    def _stage(self, visit: Visit) -> Stage:
        return Stage(visit.operations, lossy=self.world.outbox < 1024)

    async def _shut_down(self, at: float) -> None:
        await asyncio.sleep(at)
        for trace in self.traces:
            if trace.inferlet is not None and trace.ended is None and trace.inferlet.outcome is None:
                trace.cause = "stop"
        self.watch.tell("the server shuts down")
        await self.application.shut_down("the simulation says so")

    async def _drain(self) -> None:
        """Wait for the device and for tasks that were cancelled."""
        for _ in range(1500):  # longer than `_tidy` lets exports fill a pool
            if not self.watch.ledger.in_flight and not self.watch.ledger.open and not self.application._running:
                return
            await asyncio.sleep(0.1)
        self.watch.complain(
            f"left running: {list(self.application._running)}, {[str(e) for e in self.watch.ledger.open.values()]}"
        )

    async def launch(self, trace: Trace) -> Inferlet:
        """Start the inferlet of a trace."""
        self._stages[f"i{len(self._stages)}"] = trace.stage
        trace.launched_at, trace.started_s = self.loop.steps, self.loop.time()
        trace.inferlet = await self.application.launch(_PROGRAM, (), trace.visit.user)
        self.watch.say(f"{trace.inferlet.id} launched")
        return trace.inferlet

    def _check_end(self) -> None:
        """Nothing is left of anyone."""
        for kind, pool in self._model.layer.pools.items():
            if pool.free != pool.capacity or pool.draining or pool.leaving or pool.head:
                self.watch.complain(f"{pool.capacity - pool.free} {kind.kind}s never came back")
        left = {
            "spaces": self._model.layer.spaces,
            "inferlets": self.application.inferlets,
            "commands": self.watch.ledger.open,
            "bytes of host memory": self._model.layer.memory.swapping.used_bytes,
            "poison": self._model.layer._poison.by_id,
            "tasks": asyncio.all_tasks() - {asyncio.current_task()},
            "timers": self.loop.timers(),
        }
        for what, things in left.items():
            if things:
                self.watch.complain(f"{what} are left: {things}")
