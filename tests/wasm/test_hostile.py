"""Hostile guests beside a victim that generates: it must not notice, nothing may stay, each client is told why."""

from __future__ import annotations

import asyncio
import gc
import random
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Set
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from wasmtime.component import Component as Compiled

from pie_core import Trait
from pie_core.application.application import Application
from pie_core.application.capabilities import Capabilities
from pie_core.application.events import Ended
from pie_core.application.limits import Limits
from pie_core.application.manifest import Manifest
from pie_core.application.program import Program
from pie_core.application.tier import Prepared
from pie_core.application.wasm.cache import ComponentCache, default_directory
from pie_core.application.wasm.check import CheckLimits, ProgramChecker
from pie_core.application.wasm.compile import CompileLimits
from pie_core.application.wasm.tier import Runnable, WasmTier
from pie_core.errors import PieError
from pie_core.testing import FakeBackend, fake_model, run_inferlet
from tests.impatient import IMPATIENT, SENT
from tests.wasm.attack import Component
from tests.wasm.hostile_components import BARE_TYPE, COMPONENTS, REFUSED
from tests.wasm.hostile_python import PROLOGUE, PYTHON, Attack

VICTIM = """
from inferlet import *

async def main():
    with get_auto_model().create_context() as context:
        await context.fill("Tell me of the sea, and of ships.")
        send("ready")
        pieces = []
        async for piece in context.stream(greedy(), max_tokens(24)):
            pieces.append(piece)
    return ascii("".join(pieces))
"""


class MixedTier(WasmTier):
    """Programs by name: those in `components` are components, all others Python source. Outlives its applications."""

    def __init__(self, traits: list[Trait], cache: ComponentCache) -> None:
        super().__init__(traits, cache)
        self.components: dict[str, bytes] = {}
        self.untrusted: ComponentCache | None = None  # compiles components; None: compiled here, which is faster

    async def prepare(self, program: Program, known: Set[str]) -> Prepared:
        if program.name in self.components:
            return Prepared(Manifest(), (), (await self._runnable(program)).traits)
        return await super().prepare(program, known)

    async def _runnable(self, program: Program) -> Runnable:
        wasm = self.components.get(program.name)
        if wasm is None:
            return await super()._runnable(program)
        if self.untrusted is None:
            return self._link(Compiled(self._engine, wasm), program.name)
        component, _ = await self.untrusted.load(self._engine, wasm)
        return self._link(component, program.name)

    def close(self) -> None:
        """An application ends; the tier goes on."""

    def end(self) -> None:
        super().close()


@pytest.fixture(scope="module")
def tier(traits: list[Trait]) -> Iterator[MixedTier]:
    """One tier for all tests. The interpreter comes from the user's cache of components, or is built into it."""
    tier = MixedTier(traits, ComponentCache(default_directory()))
    asyncio.run(tier._load_interpreter())
    yield tier
    tier.end()


@pytest.fixture(scope="module")
def expected() -> str:
    """What the victim says when it runs trusted and alone."""
    outcome = asyncio.run(run_inferlet(VICTIM))
    assert outcome.ended.status == "finished"
    assert outcome.ended.value is not None
    assert len(outcome.ended.value) > 20
    return outcome.ended.value


class Scene:
    """An application and what clients see of it."""

    def __init__(self, application: Application, model: Any, tier: MixedTier) -> None:
        self.application, self.model, self.tier = application, model, tier
        self._numbers = count(1)

    async def launch(self, program: Any, limits: Mapping[str, Any] | None = None, name: str = "attacker") -> Any:
        """Start source text or a `Component` under these limits."""
        name = f"{name}{next(self._numbers)}"
        source = program
        if isinstance(program, Component | bytes):
            made = program if isinstance(program, bytes) else program.wasm(self.tier._traits)
            self.tier.components[name] = made
            source = ""
        self.application.limits = Limits(**(limits or {}))
        return await self.application.launch(Program(name, source, f"{name}.py"))

    async def victim(self) -> Any:
        """A victim that has begun: it holds pages, and is older than whatever comes next."""
        victim = await self.launch(VICTIM, name="victim")
        await arrival(victim.events.get())
        return victim

    async def assert_nothing_is_left(self) -> None:
        """Every page, Embed, space, inferlet and task is gone."""
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=10)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and self.pools() != self.capacity():
            await asyncio.sleep(0.001)
        assert self.pools() == self.capacity()
        assert all(pool.draining == 0 and pool.wanted == 0 for pool in self.model.layer.pools.values())
        assert self.model.layer.spaces == {}
        assert self.application.inferlets == {}
        assert self.tier._executor._arrivals == {}
        assert len(self.application._services.topics) == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert self.alarms() == []

    def alarms(self) -> list[Any]:
        """What is to happen later than in some seconds: it would keep a guest in memory until then."""
        loop = asyncio.get_running_loop()
        return [h for h in loop._scheduled if not h.cancelled() and h.when() > loop.time() + 5]  # type: ignore[attr-defined]

    def pools(self) -> dict[str, int]:
        return {kind.kind: pool.free for kind, pool in self.model.layer.pools.items()}

    def capacity(self) -> dict[str, int]:
        return {kind.kind: pool.capacity for kind, pool in self.model.layer.pools.items()}


async def arrival(ticket: Any, seconds: float = 40.0) -> Any:
    arrived = asyncio.Event()
    ticket.watch(lambda _: arrived.set())
    await asyncio.wait_for(arrived.wait(), seconds)
    return ticket.result()


async def last_event(inferlet: Any) -> Ended:
    """What the client reads last."""
    while not isinstance(event := await arrival(inferlet.events.get()), Ended):
        pass
    return event


@asynccontextmanager
async def serving(tier: MixedTier, **backend: Any) -> AsyncIterator[Scene]:
    tier.components.clear()
    application = None
    model = fake_model(FakeBackend(**backend), evicted=lambda space, why: application.evicted(space, why))  # type: ignore[attr-defined]
    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
    try:
        allowed = Capabilities.of(["a.test"], spawn=True)
        async with Application({"fake": model}, tier, capabilities=allowed) as application:
            yield Scene(application, model, tier)
    finally:
        model.close()
    assert failures == []


def check(ended: Ended, attack: Attack) -> None:
    told = ended.value if ended.status == "finished" else ended.error
    assert re.fullmatch(attack.status, ended.status), ended
    assert ended.code is attack.code or re.fullmatch(attack.code or "", ended.code or "x"), ended
    assert re.search(attack.reason, told or "", re.MULTILINE), ended


ALL = {**{f"python: {name}": attack for name, attack in PYTHON.items()}, **COMPONENTS}


def prepared(attack: Attack) -> Any:
    return PROLOGUE + attack.program if isinstance(attack.program, str) else attack.program


@pytest.mark.parametrize("name", ALL)
def test_an_attack_beside_a_victim(name: str, tier: MixedTier, expected: str) -> None:
    attack = ALL[name]

    async def play() -> None:
        async with serving(tier) as scene:
            victim = await scene.victim()
            attacker = await scene.launch(prepared(attack), attack.limits)
            if attack.stop:
                await arrival(attacker.events.get())
                scene.application.stop(attacker, "enough of it")
            ended = await arrival(attacker.ended)
            told = await last_event(attacker)
            spared = await arrival(victim.ended)
            assert spared == Ended("finished", value=expected)
            assert told == ended
            check(ended, attack)
            after = await arrival((await scene.launch(VICTIM)).ended)
            assert after == Ended("finished", value=expected)
            await scene.assert_nothing_is_left()

    asyncio.run(play())


def refused_component(lines: str) -> bytes:
    """A component that would be fine without these imports."""
    wat = Component('(func (export "run") (result i32) (i32.const 0))').wat([])
    return bytes(wasmtime.wat2wasm(wat.replace("(core module $memory", f"{lines}\n(core module $memory", 1)))


@pytest.mark.parametrize("name", REFUSED)
def test_imports_that_are_refused_at_launch(name: str, tier: MixedTier) -> None:
    lines, code, reason = REFUSED[name]

    async def play() -> None:
        async with serving(tier) as scene:
            with pytest.raises(PieError, match=reason) as caught:
                await scene.launch(refused_component(lines))
            assert caught.value.code == code
            await scene.assert_nothing_is_left()

    asyncio.run(play())


def test_a_type_by_itself_is_no_import(tier: MixedTier) -> None:
    async def play() -> None:
        async with serving(tier) as scene:
            inferlet = await scene.launch(refused_component(BARE_TYPE))
            assert (await arrival(inferlet.ended)).status == "finished"

    asyncio.run(play())


# What does not compile

FINE = '(func (export "run") (result i32) (i32.const 0))'
GENTLE = CompileLimits(cpu_s=1, wall_s=20.0)


def assembled(old: str = "", new: str = "") -> bytes:
    wat = Component(FINE).wat([])
    assert old in wat
    return bytes(wasmtime.wat2wasm(wat.replace(old, new)))


def bomb() -> bytes:
    """One function so large that compiling it takes seconds."""
    calls = "(local.set 0 (call_indirect (type $t) (local.get 0) (local.get 0)))" * 30_000
    core = f"(type $t (func (param i32) (result i32))) (table 10 funcref) (func (type $t) {calls} local.get 0)"
    return Component(core + FINE).wasm([])


def made_of(lines: str) -> bytes:
    """WebAssembly of proposals that are off, by a component without anything else."""
    return bytes(wasmtime.wat2wasm(f"(component {lines})"))


UNCOMPILABLE = {
    "nothing": (lambda: b"", "empty"),
    "noise": (lambda: random.Random(7).randbytes(5000), "not WebAssembly"),
    "a text": (lambda: b"import os", "text, not WebAssembly"),
    "a core module": (lambda: bytes(wasmtime.wat2wasm("(module)")), "core WebAssembly module"),
    "a malformed component": (lambda: assembled()[:100] + b"\xff" * 40 + assembled()[140:], "not valid"),
    "a truncated component": (lambda: assembled()[:-20], "not valid"),
    "a compile bomb": (bomb, "limit cpu_s = 1 s"),
    "no run": (lambda: assembled('(export "run" (func $run))', '(export "walk" (func $run))'), "exports no `run`"),
    "a run of another type": (
        lambda: assembled("(result (result (option string) (error $error)))", "(result u32)"),
        "another type",
    ),
    "a future": (
        lambda: made_of('(import "pie:core/runtime@1.0.0" (instance (export "send" (func (param "f" (future u8))))))'),
        "not valid: .*future|async",
    ),
    "a stream": (
        lambda: made_of('(import "pie:core/runtime@1.0.0" (instance (export "send" (func (param "f" (stream u8))))))'),
        "not valid: .*stream|async",
    ),
    "a memory of 64 bits": (lambda: made_of("(core module (memory i64 1))"), "not valid: .*memory64"),
    "a shared memory": (lambda: made_of("(core module (memory 1 2 shared))"), "not valid: .*(shared|threads)"),
}


@pytest.mark.parametrize("name", UNCOMPILABLE)
def test_what_is_refused_by_the_compiler(name: str, tier: MixedTier, expected: str, tmp_path: Path) -> None:
    make, reason = UNCOMPILABLE[name]

    async def play() -> None:
        async with serving(tier) as scene:
            victim = await scene.victim()
            tier.untrusted = ComponentCache(tmp_path / "cache", GENTLE)
            try:
                with pytest.raises(PieError, match=reason) as caught:
                    await scene.launch(make())
            finally:
                tier.untrusted = None
            assert caught.value.code == "program"
            assert await arrival(victim.ended) == Ended("finished", value=expected)
            await scene.assert_nothing_is_left()

    asyncio.run(play())


# All together, and time


def test_a_hoarder_gives_way_to_who_came_first(tier: MixedTier, expected: str) -> None:
    hoarder = PROLOGUE + "async def main():\n  q = get_auto_model().create_queue()\n  a = []\n  while True:\n"
    hoarder += "    try: a += alloc_kvpage(q, 1)\n    except PieError: break\n  send('full')\n  await sleep(3600)"

    async def play() -> None:
        async with serving(tier, pages=6) as scene:
            victim = await scene.victim()
            attacker = await scene.launch(hoarder)
            ended = await arrival(attacker.ended)
            assert (ended.status, ended.code) == ("terminated", "terminated")
            assert await arrival(victim.ended) == Ended("finished", value=expected)
            await scene.assert_nothing_is_left()

    asyncio.run(play())


def test_a_spinner_is_sliced_while_others_run_and_killed_past_its_budget(tier: MixedTier, expected: str) -> None:
    async def play() -> None:
        async with serving(tier) as scene:
            spinner = await scene.launch("async def main():\n  while True: pass", {"cpu_s": 1.0})
            other = await scene.launch(PYTHON["infinite loop"].program, {"cpu_s": 0.1})
            victims = [await scene.victim() for _ in range(3)]
            for victim in victims:
                assert await arrival(victim.ended) == Ended("finished", value=expected)
            assert spinner.outcome is None
            for guest, budget in ((other, "0.1 s"), (spinner, "1 s")):
                ended = await arrival(guest.ended)
                assert (ended.status, ended.code) == ("terminated", "resource")
                assert f"more than the {budget} that the limits allow" in ended.error
                assert "`cpu_s`" in ended.error
            await scene.assert_nothing_is_left()

    asyncio.run(play())


def test_all_attacks_at_once(tier: MixedTier, expected: str) -> None:
    async def play() -> None:
        async with serving(tier, pages=512, embeds=4096) as scene:
            victim = await scene.victim()
            guests = {}
            for name, attack in ALL.items():
                guests[name] = await scene.launch(prepared(attack), attack.limits, name="attacker")
                if attack.stop:
                    await arrival(guests[name].events.get())
                    scene.application.stop(guests[name], "enough of it")
            second = await scene.launch(VICTIM)
            for name, attack in ALL.items():
                check(await arrival(guests[name].ended), attack)
            for spared in (victim, second):
                assert await arrival(spared.ended) == Ended("finished", value=expected)
            await scene.assert_nothing_is_left()

    asyncio.run(play())


def test_reads_that_are_given_up_are_not_kept(tier: MixedTier) -> None:
    source = """
async def main():
    for _ in range(200):
        try: await asyncio.wait_for(receive(), 1e-4)
        except TimeoutError: pass
    send("ready")
    return await receive()
"""

    async def play() -> None:
        async with serving(tier) as scene:
            guest = await scene.launch(PROLOGUE + source)
            await arrival(guest.events.get())
            await asyncio.sleep(0.05)
            assert len(guest.inbox._readers) <= 1
            guest.deliver("at last")
            assert (await arrival(guest.ended)).value == "at last"
            await scene.assert_nothing_is_left()

    asyncio.run(play())


def test_reads_that_are_given_up_lose_and_reorder_no_message(tier: MixedTier) -> None:
    async def play() -> None:
        async with serving(tier) as scene:
            guest = await scene.launch(PROLOGUE + IMPATIENT)
            for number, text in enumerate(SENT):
                guest.deliver(text)
                if number % 3 == 0:
                    await asyncio.sleep(0.001)
            assert (await arrival(guest.ended)).value == " ".join(SENT)
            await scene.assert_nothing_is_left()

    asyncio.run(play())


def test_a_source_that_takes_long_to_check_is_refused(tier: MixedTier) -> None:
    async def play() -> None:
        async with serving(tier) as scene:
            began = time.thread_time()
            with pytest.raises(PieError, match="are allowed"):
                await scene.launch("a," * 2_000_000)
            assert time.thread_time() - began < 0.5

    asyncio.run(play())


def test_sources_that_are_costly_to_parse_do_not_hold_up_the_victim(
    tier: MixedTier, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker = ProgramChecker(CheckLimits(large_cpu_s=1))
    monkeypatch.setattr(tier, "_checker", checker)
    costly = "async def main():\n  f(" + ",".join(f"a{n}=a" for n in range(25_000)) + ")"

    async def play() -> None:
        async with serving(tier) as scene:
            began = time.thread_time()
            launches = [asyncio.create_task(scene.launch(f"{costly}#{n}")) for n in range(2)]
            victim = await scene.victim()
            assert await arrival(victim.ended) == Ended("finished", value=expected)
            for launch in launches:
                with pytest.raises(PieError, match="checking it takes more than 1 s of processor time"):
                    await launch
            assert time.thread_time() - began < 1.0  # to check both of them takes more than 2 s
            await scene.assert_nothing_is_left()

    try:
        asyncio.run(play())
    finally:
        checker.close()


# Coming and going

SLEEPY = (
    PROLOGUE
    + """
async def main():
    q, pages, embeds = work()
    send("ready")
    forward(q, [], embeds, pages, embeds[:1])
    asyncio.create_task(receive())
    while True:
        await get_next_dist(q, embeds[:1])
        await sleep(0.0005)
        time.sleep(0.0005)
"""
)
LOOP = Component('(func (export "run") (result i32) (loop $l (br $l)) (i32.const 0))')


def held() -> dict[str, int]:
    """What the process holds of the system."""
    maps = Path("/proc/self/maps").read_text("ascii").count("\n")
    return {"threads": threading.active_count(), "files": len(list(Path("/proc/self/fd").iterdir())), "maps": maps}


def test_many_launches_and_kills_leave_nothing(tier: MixedTier, expected: str) -> None:
    draw = random.Random(11)
    sources = [SLEEPY, LOOP, PROLOGUE + PYTHON["infinite loop"].program, PYTHON["endless sleep that blocks"].program]
    sources = [source if isinstance(source, Component) else PROLOGUE + source for source in sources]

    async def churn(scene: Scene, launches: int) -> None:
        running: list[Any] = []
        for _ in range(launches):
            running.append(await scene.launch(draw.choice(sources)))
            if draw.random() < 0.5:
                await asyncio.sleep(draw.random() * 0.01)
            while len(running) > 12 or (running and draw.random() < 0.4):
                scene.application.stop(running.pop(draw.randrange(len(running))), "at a random moment")
        for inferlet in running:
            scene.application.stop(inferlet, "the end")
            assert (await arrival(inferlet.ended)).status == "stopped"

    async def play() -> None:
        async with serving(tier) as scene:
            await churn(scene, 30)
            await scene.assert_nothing_is_left()
            gc.collect()
            before = held()
            victim = await scene.victim()
            await churn(scene, 270)
            assert await arrival(victim.ended) == Ended("finished", value=expected)
            await scene.assert_nothing_is_left()
            gc.collect()
            after = held()
            assert after["threads"] <= before["threads"]
            assert after["files"] <= before["files"]
            assert after["maps"] <= before["maps"] + 40  # the allocator's own; a guest that stays has 7 or more

    asyncio.run(play())
