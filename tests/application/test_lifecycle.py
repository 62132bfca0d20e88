"""However an inferlet ends, nothing of it is left, and nobody else notices.

`scene` asserts after each play that every page, Embed, space and task is gone.
"""

import asyncio
import re

import pytest

from pie_core import ArgumentError, ProgramError, ResourceError
from pie_core.application.application import Application
from pie_core.application.limits import Limits
from pie_core.application.native import NativeTier

WAIT = "\n    await receive()\n"


def ending(source, limits=None, **backend):
    """A play: run one program to its end."""

    async def play(server):
        return await server.run(source)

    return play


@pytest.mark.parametrize(
    ("body", "status", "fragment"),
    [
        ("return 'done'", "finished", None),
        ("1 / 0", "failed", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "failed", "SystemExit: 3"),
        ("raise asyncio.CancelledError", "failed", "`main` was cancelled, though nobody stopped it"),
        ("raise TimeoutError('mine')", "failed", "TimeoutError: mine"),
        ("return 5", "failed", "main returned int; return a str or None"),
        ("await get_next_dist(q, embeds[5:])", "finished", None),
        ("get_next_dist(q, embeds[:1])", "finished", None),  # not awaited: dropped with the inferlet
        ("forward(q, pages, embeds[:1], pages, embeds[:1])\n    raise OSError", "failed", "OSError"),
        ("alloc_kvpage(q, 10**6)", "failed", "ResourceError: 1000000 kvpages asked for"),
        ("global kept; kept = get_auto_model().create_context(); await kept.fill('x'); await kept.next_dist()",
         "finished", None),
        ("asyncio.get_running_loop().call_soon(embeds.clear)", "finished", None),
    ],
)  # fmt: skip
def test_everything_is_free_again_after(scene, body, status, fragment):
    ended = scene(ending(f"async def main():\n    q, pages, embeds = use_everything()\n    {body}\n"))
    assert ended.status == status
    assert fragment is None or fragment in ended.error


def test_a_module_that_fails_before_main_is_a_failed_program(scene):
    ended = scene(ending("use_everything()\n1 / 0\nasync def main(): pass"))
    assert ended.status == "failed" and "ZeroDivisionError" in ended.error


@pytest.mark.parametrize(
    "waiting",
    [
        "await receive()",
        "await receive_blob()",
        "await sleep(1e6)",
        "await asyncio.sleep(1e6)",
        "await asyncio.gather(receive(), sleep(1e6), asyncio.sleep(1e6))",
        "while True: await get_next_dist(q, embeds[:1])",
        "while True: forward(q, [], embeds[:1], alloc_kvpage(q, 1), embeds[:1]); await synchronize(q)",
        "context = get_auto_model().create_context(); await context.fill('x'); await context.generate()",
        "async with asyncio.TaskGroup() as group: [group.create_task(sleep_long()) for _ in range(5)]",
    ],
)
def test_a_program_is_stopped_wherever_it_waits(scene, waiting):
    async def play(server):
        inferlet = await server.launch(
            "async def sleep_long(): await sleep(1e6)\n"
            f"async def main():\n    q, pages, embeds = use_everything()\n    send('ready')\n    {waiting}\n"
        )
        assert await server.message(inferlet) == "ready"
        server.application.stop(inferlet, "enough")
        assert server.application.inferlets == {}
        return await server.ended(inferlet)

    ended = scene(play, pages=4096)
    assert (ended.status, ended.code, ended.error) == ("stopped", "terminated", "enough")


def test_what_it_holds_is_free_when_stop_returns(scene):
    async def play(server):
        inferlet = await server.launch("async def main():\n    use_everything()" + "\n    send('x')" + WAIT)
        await server.message(inferlet)
        while server.model.layer.scheduler.in_flight or server.model.layer.scheduler.backlog:
            await asyncio.sleep(0)
        server.application.stop(inferlet, "enough")
        return [pool.free - pool.capacity for pool in server.model.layer.pools.values()]

    assert scene(play) == [0, 0]


def test_a_program_that_runs_too_long_is_terminated_and_told_the_limit(scene):
    ended = scene(ending("async def main():\n    use_everything()" + WAIT), Limits(wall_s=0.05))
    assert (ended.status, ended.code) == ("terminated", "resource") and "longer than the 0.05 s" in ended.error


SWALLOW = """
async def main():
    use_everything()
    send("ready")
    for _ in range({times}):
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            pass
"""


@pytest.mark.parametrize("limit", ["stop", "wall"])
def test_a_program_that_swallows_its_cancellation_loses_everything_at_once_and_ends_at_last(scene, limit):
    async def play(server):
        inferlet = await server.launch(SWALLOW.format(times=2))
        await server.message(inferlet)
        if limit == "stop":
            server.application.stop(inferlet, "enough")
            assert server.model.layer.spaces == {}
        ended = await server.ended(inferlet)
        assert server.application.inferlets == {}
        await asyncio.wait(list(server.application._running.values()), timeout=10)
        return ended.status

    limits = Limits(wall_s=0.05) if limit == "wall" else None
    assert scene(play, limits) == ("stopped" if limit == "stop" else "terminated")


def test_a_swallowed_cancellation_does_not_make_a_terminated_program_finish(scene):
    ended = scene(ending(SWALLOW.format(times=1)), Limits(wall_s=0.05))
    assert ended.status == "terminated"


def test_an_ended_program_that_goes_on_can_do_nothing_any_more(scene):
    source = """
async def main():
    q, pages, embeds = use_everything()
    send("ready")
    try:
        await receive()
    except BaseException:
        pass
    told = []
    for call in (lambda: alloc_kvpage(q, 1), lambda: send("x"), lambda: get_auto_model(), lambda: sleep(0),
                 lambda: forward(q, [], embeds, pages, []), lambda: get_auto_model().create_context(),
                 lambda: print("x"), lambda: set_return("x"), lambda: dealloc_kvpage(q, pages)):
        try:
            call()
        except TerminatedError as error:
            told.append(str(error))
    asyncio.get_running_loop().told.set_result(told)
"""

    async def play(server):
        told = asyncio.get_running_loop().told = asyncio.get_running_loop().create_future()
        inferlet = await server.launch(source)
        await server.message(inferlet)
        server.application.stop(inferlet, "enough")
        return await asyncio.wait_for(told, 20)

    told = scene(play)
    assert len(told) == 9 and all("enough" in text or "has ended (stopped)" in text for text in told)


LEFTOVER = """
import contextlib

async def leftover():
    q, pages, embeds = use_everything()
    {body}

async def main():
    global task
    task = asyncio.create_task(leftover())
    await asyncio.sleep(0)
    return "gone"
"""


@pytest.mark.parametrize(
    "body",
    [
        "await asyncio.sleep(1e6)",
        "await receive()",
        "while True: await get_next_dist(q, embeds[:1])",
        "await asyncio.create_task(asyncio.sleep(1e6))",
        "await asyncio.shield(asyncio.sleep(1e6))",
        "with contextlib.suppress(asyncio.CancelledError): await asyncio.sleep(1e6)\n    await asyncio.sleep(1e6)",
    ],
)
def test_a_task_does_not_outlive_the_program_that_started_it(scene, body):
    assert scene(ending(LEFTOVER.format(body=body))).value == "gone"


def test_sys_exit_in_a_task_of_a_program_does_not_end_the_server(scene):
    source = """
async def leave():
    await asyncio.sleep(0)
    raise SystemExit(7)

async def main():
    tasks = [asyncio.create_task(leave()) for _ in range(3)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return str(results[0])
"""
    assert "a task of the program called sys.exit(7)" in scene(ending(source)).value


def test_tasks_of_programs_work_as_in_any_asyncio_program(scene):
    source = """
async def work(n):
    await sleep(0)
    return n

async def main():
    first = asyncio.create_task(work(1), name="first")
    async with asyncio.TaskGroup() as group:
        second = group.create_task(work(2))
    try:
        await asyncio.wait_for(asyncio.sleep(1e6), 0)
    except TimeoutError:
        third = 3
    cancelled = asyncio.create_task(work(4))
    cancelled.cancel()
    try:
        await cancelled
    except asyncio.CancelledError:
        pass
    facts = first.get_name(), cancelled.cancelled(), first.get_coro().__name__
    return f"{await first} {second.result()} {third} {facts}"
"""
    assert scene(ending(source)).value == "1 2 3 ('first', True, 'work')"


# contention


HOLD = """
async def main():
    q = get_auto_model().create_queue()
    kept = alloc_kvpage(q, {pages})
    send("ready")
    await receive()
    kept += alloc_kvpage(q, {more})
    send("more")
    await receive()
"""


def test_when_pages_run_out_the_newest_program_is_terminated_and_told_why(scene):
    async def play(server):
        old = await server.launch(HOLD.format(pages=4, more=3))
        await server.message(old)
        new = await server.launch(HOLD.format(pages=4, more=1))
        await server.message(new)
        old.deliver("go on")
        ended = await server.ended(new)
        assert await server.message(old) == "more"
        old.deliver("done")
        return ended, await server.ended(old)

    evicted, survivor = scene(play, pages=8)
    assert (evicted.status, evicted.code) == ("terminated", "terminated")
    assert "all 8 kvpages are in use and it came last" in evicted.error and "larger pool" in evicted.error
    assert survivor.status == "finished"


def test_a_program_that_asks_for_too_much_itself_is_the_one_that_ends_even_if_it_catches_the_error(scene):
    source = """
async def main():
    q = get_auto_model().create_queue()
    kept = alloc_kvpage(q, 1)
    try:
        alloc_kvpage(q, 7)
    except Exception:
        pass
    await asyncio.sleep(0)
    return "went on"
"""

    async def play(server):
        old = await server.launch(HOLD.format(pages=4, more=0))
        await server.message(old)
        ended = await server.run(source)
        old.deliver("x")
        old.deliver("x")
        return ended, await server.ended(old)

    ended, old = scene(play, pages=8)
    assert ended.status == "terminated" and old.status == "finished"


def test_a_quota_is_an_error_that_a_program_can_catch(scene):
    source = """
async def main():
    q = get_auto_model().create_queue()
    for allocate in (alloc_kvpage, alloc_emb):
        try:
            allocate(q, 5)
        except ResourceError as error:
            allocate(q, 4)
            send(str(error))
"""

    async def play(server):
        inferlet = await server.launch(source)
        return [await server.message(inferlet) for _ in range(2)]

    assert all("over the 4 that one inferlet may hold" in text for text in scene(play, Limits(kvpages=4, embeds=4)))


# launching


def test_inferlets_do_not_notice_each_other_failing(scene):
    source = """
async def main():
    q, pages, embeds = use_everything()
    number = int(get_arg()[0])
    await get_next_dist(q, embeds[:1])
    if number % 3 == 0:
        1 / 0
    if number % 3 == 1:
        forward(q, [], embeds, [12345], [])
    dist = await get_next_dist(q, embeds[:1])
    return f"{number} {dist.max_index()}"
"""

    async def play(server):
        inferlets = [await server.launch(source, str(number)) for number in range(30)]
        return [await server.ended(inferlet) for inferlet in inferlets]

    outcomes = scene(play, pages=90, embeds=180)
    assert [o.status for o in outcomes] == ["failed", "failed", "finished"] * 10
    assert len({o.value.split()[1] for o in outcomes[2::3]}) == 1
    assert "ZeroDivisionError" in outcomes[0].error and "HandleError" in outcomes[1].error


def test_a_handle_of_another_inferlet_is_worth_nothing(scene):
    async def play(server):
        owner = await server.launch(
            "async def main():\n    q, pages, embeds = use_everything()\n"
            "    send(f'{q.handle} {int(pages[0])} {int(embeds[0])}')" + WAIT
        )
        handles = await server.message(owner)
        thief = await server.launch(
            """
from inferlet import Queue
async def main():
    q = get_auto_model().create_queue()
    theirs, page, embed = map(int, get_arg())
    for call in (lambda: alloc_kvpage(Queue("fake", theirs), 1) and embed_txt(Queue("fake", theirs), 1, 0, 1),
                 lambda: synchronize(Queue("fake", theirs)), lambda: dealloc_kvpage(q, page),
                 lambda: dealloc_emb(q, embed), lambda: get_next_dist(q, embed)):
        try:
            call()
            send("stolen")
        except HandleError as error:
            send(str(error))
""",
            *handles.split(),
        )
        told = [await server.message(thief) for _ in range(5)]
        await server.ended(thief)
        server.application.stop(owner, "over")
        await server.ended(owner)
        return told

    assert all("of this inferlet" in text for text in scene(play))


def test_a_launch_that_is_refused_leaves_nothing(scene):
    async def play(server):
        for source in ("async def main(: pass", "def main(): pass", "# /// inferlet\nasync def main(): pass"):
            with pytest.raises(ProgramError):
                await server.launch(source)
        flags = "# /// inferlet\n# [flags.x]\n# default = 1\n# ///\nasync def main(): pass"
        with pytest.raises(ProgramError, match=r"unknown argument '--y'"):
            await server.launch(flags, "--y")
        with pytest.raises(ArgumentError, match=r"program 'test' has \d+ bytes; 2048 are allowed"):
            await server.launch("#" * 2048)
        with pytest.raises(ArgumentError, match=r"1002 bytes of arguments; 1000 are allowed"):
            await server.launch("async def main(): pass", "ä" * 501)
        return server.application.list()

    assert scene(play, Limits(program_bytes=2048, message_bytes=1000)) == []


def test_only_so_many_inferlets_run_at_once(scene):
    async def play(server):
        running = [await server.launch("async def main():" + WAIT) for _ in range(3)]
        with pytest.raises(ResourceError, match=r"3 inferlets run already"):
            await server.launch("async def main(): pass")
        server.application.stop(running[0], "room")
        again = await server.launch("async def main(): return 'ran'")
        result = await server.ended(again)
        for inferlet in running[1:]:
            server.application.stop(inferlet, "over")
        return result.value

    assert scene(play, Limits(max_inferlets=3, line_launches=0)) == "ran"


def test_the_list_tells_who_runs_and_what_they_hold(scene):
    async def play(server):
        ann = await server.launch("async def main():\n    use_everything()\n    send('x')" + WAIT, user="ann")
        bob = await server.launch("async def main():" + WAIT, user="bob")
        await server.message(ann)
        everyone, anns = server.application.list(), server.application.list("ann")
        assert server.application.find(ann.id) is ann and server.application.find(ann.id, "ann") is ann
        for wrong in (ann.id, "nonsense"):
            with pytest.raises(ArgumentError, match=rf"no running inferlet has the id '{wrong}'"):
                server.application.find(wrong, "bob")
        for inferlet in (ann, bob):
            server.application.stop(inferlet, "over")
        with pytest.raises(ArgumentError, match=r"no running inferlet has the id"):
            server.application.find(ann.id)
        return everyone, anns

    everyone, anns = scene(play)
    for facts in (*everyone, *anns):
        del facts["seconds"]  # the two lists may be a millisecond apart
    assert [facts["user"] for facts in everyone] == ["ann", "bob"] and anns == [everyone[0]]
    assert everyone[0]["held"] == {"kvpage": 3, "embed": 6} and everyone[0]["unbound"] == {"kvpage": 0, "embed": 0}
    assert everyone[0]["program"] == "test"


def test_leaving_the_application_stops_everything(serving):
    async def main():
        async with serving() as server:
            inferlets = [await server.launch("async def main():\n    use_everything()" + WAIT) for _ in range(5)]
        await asyncio.sleep(0)
        return [inferlet.outcome for inferlet in inferlets], asyncio.all_tasks() - {asyncio.current_task()}

    outcomes, tasks = asyncio.run(main())
    assert {(o.status, o.error) for o in outcomes} == {("stopped", "the server shuts down")} and not tasks


def test_a_program_that_is_stopped_before_it_began_is_as_gone_as_any_other(scene):
    async def play(server):
        inferlet = await server.launch("async def main(): pass")
        server.application.stop(inferlet, "at once")
        ended = await server.ended(inferlet)
        await asyncio.sleep(0)
        return ended.status, dict(server.application._running)

    assert scene(play) == ("stopped", {})


def test_shutting_down_twice_is_fine():
    async def main():
        async with Application({}, NativeTier()) as application:
            await application.shut_down("first")

    asyncio.run(main())


# tracebacks


def lines_of(error):
    return re.findall(r'File "(.*?)", line', error)


@pytest.mark.parametrize(
    "body",
    [
        "helper()",
        "embed_txt(get_auto_model().create_queue(), [1, 2], [0], [])",
        "await get_auto_model().create_context().next_dist()",
        "context = get_auto_model().create_context()\n    await context.fill('x')\n    context.truncate(9)",
        "alloc_kvpage(None, 1)",
        "get_model('other')",
        "Dist([], []).sample()",
        "await asyncio.gather(fail())",
        "raise OSError('first') from error_of(lambda: get_model('other'))",
        "raise ExceptionGroup('two', [error_of(lambda: get_model('x')), error_of(lambda: alloc_kvpage(None, 1))])",
    ],
)
def test_a_traceback_shows_the_programs_own_lines_only(scene, body):
    source = f"""
def helper():
    {{}}["missing"]

def error_of(call):
    try:
        call()
    except Exception as error:
        return error

async def fail():
    get_model("other")

async def main():
    {body}
"""
    error = scene(ending(source)).error
    files = lines_of(error)
    assert files and set(files) == {"test.py"}, error
    assert f"    {body.splitlines()[-1].strip()}" in error
    assert "pie_core" not in error and "inferlet/" not in error


def test_a_traceback_without_end_is_cut(scene):
    error = scene(ending("async def main():\n    raise ValueError('x' * 10**6 + 'the end')")).error
    assert len(error) < 100_000 and error.endswith("the end")


def test_the_alarms_of_sleeping_programs_are_called_off_when_they_end(scene):
    """A stopped program must not be kept in memory until its sleep would have been over."""

    async def play(server):
        inferlet = await server.launch("async def main():\n    send('x')\n    await sleep(1e6)")
        await server.message(inferlet)
        server.application.stop(inferlet, "over")
        loop = asyncio.get_running_loop()
        return [timer for timer in loop._scheduled if timer.when() > loop.time() + 1e5 and not timer.cancelled()]

    assert scene(play) == []
