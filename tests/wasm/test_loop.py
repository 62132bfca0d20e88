"""The guest's event loop does what asyncio's own does, and waits for the server in one place only."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc

import pytest
from inferlet_guest.app import contained_task
from inferlet_guest.host import GuestHost

from tests.wasm.fake_imports import FakeImports, Guest


@pytest.fixture
def guest():
    return Guest(FakeImports())


async def _sleep_ordering(log):
    async def work(name, seconds):
        await asyncio.sleep(seconds)
        log.append(name)
        return name

    log.append(await asyncio.gather(work("c", 0.03), work("a", 0.01), work("b", 0.02), work("now", 0)))


async def _timeouts(log):
    for seconds in (0.0, 0.01):
        try:
            async with asyncio.timeout(seconds):
                await asyncio.sleep(5)
        except TimeoutError:
            log.append("timeout")
    async with asyncio.timeout(5):
        log.append(await asyncio.wait_for(asyncio.sleep(0.001, "in time"), 5))
    try:
        await asyncio.wait_for(asyncio.Event().wait(), 0.01)
    except TimeoutError:
        log.append("wait_for")


async def _cancellation(log):
    async def stubborn():
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError as error:
            log.append(f"cancelled {error}")
            await asyncio.sleep(0.001)
            log.append("cleaned up")
            raise

    task = asyncio.create_task(stubborn(), name="stubborn")
    await asyncio.sleep(0)
    task.cancel("enough")
    try:
        await task
    except asyncio.CancelledError:
        log.append((task.get_name(), task.cancelled()))
    early = asyncio.create_task(stubborn())
    early.cancel()
    log.append(await asyncio.gather(early, return_exceptions=True) and early.cancelled())


async def _task_groups(log):
    async def fail(seconds):
        await asyncio.sleep(seconds)
        raise ValueError(seconds)

    async def work():
        try:
            await asyncio.sleep(5)
        finally:
            log.append("stopped")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            group.create_task(fail(0.01))
    except* ValueError as errors:
        log.append([error.args for error in errors.exceptions])
    async with asyncio.TaskGroup() as group:
        ended = [group.create_task(asyncio.sleep(0.01, n)) for n in range(3)]
    log.append([task.result() for task in ended])


async def _queues_and_locks(log):
    queue, lock, event, condition = asyncio.Queue(1), asyncio.Lock(), asyncio.Event(), asyncio.Condition()

    async def produce():
        for n in range(3):
            async with lock:
                await queue.put(n)
        event.set()
        async with condition:
            condition.notify_all()

    async def consume():
        async with condition:
            got = [await queue.get() for _ in range(3)]
            await condition.wait_for(event.is_set)
        log.append(got)

    await asyncio.gather(consume(), produce())
    semaphore = asyncio.Semaphore(1)
    async with semaphore:
        log.append(semaphore.locked())


async def _exceptions(log):
    async def fail():
        raise KeyError("k")

    results = await asyncio.gather(fail(), asyncio.sleep(0, 1), return_exceptions=True)
    log.append(repr(results))
    done, pending = await asyncio.wait(
        [asyncio.create_task(fail()), asyncio.create_task(asyncio.sleep(5))], return_when=asyncio.FIRST_EXCEPTION
    )
    log.append((len(done), len(pending), [type(task.exception()) for task in done]))
    for task in pending:
        task.cancel()
    asyncio.get_running_loop().call_soon(log.append, "callback")
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(lambda: 1 / 0)
    log.append(await asyncio.to_thread(sorted, [2, 1]))


async def _contexts(log):
    number = contextvars.ContextVar("number", default=0)

    async def work(n):
        number.set(n)
        await asyncio.sleep(0.001)
        log.append(number.get())

    await asyncio.gather(*(work(n) for n in range(3)))
    mine = contextvars.copy_context()
    mine.run(number.set, 7)

    async def show():
        return number.get()

    log.append(await asyncio.create_task(show(), context=mine))
    log.append(number.get())


async def _generators(log):
    async def count():
        try:
            for n in range(9):
                yield n
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            log.append("closed")

    async for n in count():
        if n == 2:
            break
    gc.collect()
    await asyncio.sleep(0.01)
    log.append("after")
    log.append(await anext(left := count()))
    return left


async def _timers(log):
    loop = asyncio.get_running_loop()
    start = loop.time()
    loop.call_later(0.02, log.append, "late")
    handle = loop.call_at(start + 0.01, log.append, "never")
    loop.call_at(start + 0.01, log.append, "soon")
    loop.call_later(-1, log.append, "at once")
    handle.cancel()
    log.append((handle.cancelled(), handle.when() == start + 0.01))
    await asyncio.sleep(0.03)


PROGRAMS = [
    _sleep_ordering,
    _timeouts,
    _cancellation,
    _task_groups,
    _queues_and_locks,
    _exceptions,
    _contexts,
    _generators,
    _timers,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__.strip("_"))
def test_little_programs_do_the_same_as_with_asyncio_itself(guest, program):
    expected, found = [], []
    asyncio.run(program(expected))
    guest.loop.run(program(found))
    assert expected and found == expected and guest.reports == []


def test_sleeping_takes_one_wait_for_each_time_that_something_happens(guest):
    guest.loop.run(_sleep_ordering([]))
    assert guest.imports.names().count("wait") == 3
    assert guest.imports.now == pytest.approx(0.03)


def test_a_timer_that_is_cancelled_again_and_again_does_not_ask_for_a_sleep_each_time():
    imports = FakeImports()
    imports.delay = 0.001
    guest = Guest(imports)

    async def main():
        for _ in range(100):
            async with asyncio.timeout(30):
                await guest.loop.arrival(imports.done_in(0.001))

    guest.loop.run(main())
    assert imports.names().count("sleep") == 1


def test_nested_timers_do_not_pile_up_sleeps():
    imports = FakeImports()
    guest = Guest(imports)

    async def main():
        async with asyncio.timeout(3600):
            for _ in range(50):
                await guest.loop.arrival(imports.done_in(0.5))
                async with asyncio.timeout(1):
                    await guest.loop.arrival(imports.done_in(0.1))

    guest.loop.run(main())
    sleeps = [seconds for name, *seconds in imports.crossings if name == "sleep"]
    assert sum(seconds[0] > 2 for seconds in sleeps) == 1 and len(sleeps) < 50


def test_a_timer_that_is_far_away_is_slept_in_parts(guest):
    async def main():
        await asyncio.sleep(200_000)

    guest.loop.run(main())
    assert guest.imports.now == pytest.approx(200_000) and guest.imports.names().count("sleep") == 3


def test_a_task_that_never_waits_does_not_starve_one_that_waits_for_the_server():
    imports = FakeImports()
    guest = Guest(imports)

    async def main():
        arrived = asyncio.ensure_future(guest.loop.arrival(imports.done_in(0)))
        turns = 0
        while not arrived.done() and turns < 1000:
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert guest.loop.run(main()) < 100
    assert imports.names().count("wait") == 1


@pytest.mark.parametrize(
    "wait",
    [
        lambda: asyncio.Event().wait(),
        lambda: asyncio.get_running_loop().create_future(),
        lambda: asyncio.gather(asyncio.Event().wait(), asyncio.Event().wait()),
        lambda: asyncio.create_task(asyncio.Event().wait()),
        lambda: asyncio.shield(asyncio.Event().wait()),
    ],
)
def test_waiting_for_nothing_is_an_error_in_the_program_at_the_place_that_waits(guest, wait):
    async def main():
        try:
            await wait()
        except RuntimeError as error:
            return str(error)

    assert "waits for something that cannot happen" in guest.loop.run(main())
    assert guest.reports == []


def test_errors_of_callbacks_and_of_forgotten_tasks_are_reported(guest):
    async def fail():
        raise ValueError("task")

    async def main():
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        guest.loop.create_task(fail())
        await asyncio.sleep(0.01)

    guest.loop.set_task_factory(contained_task)
    gc.disable()  # nothing but the end of the last reference may be needed
    try:
        guest.loop.run(main())
    finally:
        gc.enable()
    assert [(type(error), "callback" in message) for message, error in guest.reports] == [
        (ZeroDivisionError, True),
        (ValueError, False),
    ]


def test_a_handler_of_the_program_gets_the_errors_and_its_own_failure_is_reported(guest):
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: seen.append(type(context["exception"])))
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
        loop.set_exception_handler(lambda *_: seen.append(1) or [][0])
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)

    guest.loop.run(main())
    assert seen == [ZeroDivisionError, 1] and [type(error) for _, error in guest.reports] == [IndexError]


def test_tasks_and_generators_that_are_left_at_the_end_are_closed(guest):
    ended = []

    async def work():
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.01)
            ended.append("task")

    async def count():
        try:
            yield 1
            yield 2
        finally:
            ended.append("generator")

    async def main():
        task = guest.loop.create_task(work())
        generator = count()
        await anext(generator)
        ended.append("main")
        return task, generator

    guest.loop.run(main())
    assert ended == ["main", "task", "generator"]


def test_a_task_that_will_not_end_is_left_behind(guest):
    async def stay():
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)

    async def main():
        task = asyncio.create_task(stay())
        await asyncio.sleep(0)
        return task

    task = guest.loop.run(main())
    assert guest.imports.now < 2
    guest.reports.clear()
    task._log_destroy_pending = False


def test_the_error_of_main_comes_out(guest):
    async def main():
        await asyncio.sleep(0.01)
        raise KeyError("main")

    with pytest.raises(KeyError, match="main"):
        guest.loop.run(main())


def test_what_the_sandbox_does_not_have_says_so(guest):
    async def main():
        with pytest.raises(NotImplementedError):
            await asyncio.open_connection("localhost", 1)
        with pytest.raises(RuntimeError, match="cannot be stopped"):
            asyncio.get_running_loop().stop()
        with pytest.raises(RuntimeError):
            asyncio.run(asyncio.sleep(0))

    with pytest.warns(RuntimeWarning, match="never awaited"):
        guest.loop.run(main())
        gc.collect()


def test_the_host_is_what_a_program_finds(guest):
    assert isinstance(guest.host, GuestHost) and guest.host.loop is guest.loop
