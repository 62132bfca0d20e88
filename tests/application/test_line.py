"""Launches take their turns: in order, so many at once, and no more wait than there is room for."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pie_core.application.limits import Limits
from pie_core.application.line import Line
from pie_core.errors import BusyError, TerminatedError

WAIT = "\n    await asyncio.sleep(3600)"


@given(
    st.integers(1, 3),
    st.integers(0, 12),
    st.lists(st.tuples(st.integers(0, 19), st.integers(0, 4), st.booleans()), max_size=80),
)
def test_the_line_does_what_two_plain_lists_do(at_once, most, moves):
    """Numbers come and go; each has its size, and is of user number modulo 3. 20 bytes may wait."""
    line, started = Line(at_once, most, 20), []
    running, waiting, begun = [], [], []

    def user(name):
        return f"user {int(name) % 3}"

    for who, size, comes in moves:
        name = str(who)
        known = name in running or name in [n for n, _ in waiting]
        if comes and not known:
            try:
                line.check_room(user(name), size)
                line.enter(name, user(name), size, lambda name=name: started.append(name))
                accepted = True
            except BusyError:
                accepted = False
            free, free_bytes = most - len(waiting), 20 - sum(s for _, s in waiting)
            own = [s for n, s in waiting if user(n) == user(name)]
            fits = len(own) < 8 * free and sum(own) <= 8 * free_bytes and size <= free_bytes
            assert accepted == (len(running) < at_once or fits)
            if accepted and len(running) < at_once:
                running.append(name)
                begun.append(name)
            elif accepted:
                waiting.append((name, size))
        elif not comes:
            line.leave(name)
            waiting = [(n, s) for n, s in waiting if n != name]
            if name in running:
                running.remove(name)
                if waiting:
                    following = min(waiting, key=lambda w: sum(user(n) == user(w[0]) for n in running))
                    waiting.remove(following)
                    running.append(following[0])
                    begun.append(following[0])
        assert started == begun
        assert (line.running, line.waiting) == (len(running), len(waiting))
        assert all(line.waits(n) for n, _ in waiting) and not any(map(line.waits, running))


def test_a_flood_of_one_user_holds_up_no_launch_of_another(scene):
    async def play(server):
        flood = [await server.launch("async def main():" + WAIT, user="flooder") for _ in range(2)]
        with pytest.raises(BusyError, match="of them of user 'flooder'"):
            while True:
                flood.append(await server.launch("async def main():" + WAIT, user="flooder"))
        other = [await server.launch(f"async def main():\n    return '{n}'", user="bob") for n in range(2)]
        server.application.stop(flood[0], "over")
        outcomes = [(await server.ended(inferlet)).value for inferlet in other]
        waiting = server.application.line.waiting
        for inferlet in flood:
            server.application.stop(inferlet, "over")
        return outcomes, waiting, len(flood)

    assert scene(play, Limits(max_inferlets=2, line_launches=40)) == (["0", "1"], 35, 38)


def test_launches_wait_for_their_turn_and_run_in_order(scene):
    async def play(server):
        first = await server.launch("async def main():" + WAIT)
        later = [await server.launch(f"async def main():\n    return '{n}'") for n in range(4)]
        assert [facts["status"] for facts in server.application.list()] == ["running", *["waiting"] * 4]
        server.application.stop(later[1], "not any more")
        assert (await server.ended(later[1])).status == "stopped"
        server.application.stop(first, "over")
        return [(await server.ended(inferlet)).value for inferlet in later]

    assert scene(play, Limits(max_inferlets=1)) == ["0", None, "2", "3"]


def test_what_is_sent_before_its_turn_is_there_when_it_runs(scene):
    async def play(server):
        first = await server.launch("async def main():" + WAIT)
        second = await server.launch("async def main():\n    return await receive()")
        second.deliver("early")
        server.application.stop(first, "over")
        return (await server.ended(second)).value

    assert scene(play, Limits(max_inferlets=1)) == "early"


def test_the_wall_clock_of_a_program_starts_with_its_turn(scene):
    async def play(server):
        first = await server.launch("async def main():\n    await asyncio.sleep(0.2)")
        second = await server.launch("async def main():\n    return 'in time'")
        await server.ended(first)
        return (await server.ended(second)).value

    assert scene(play, Limits(max_inferlets=1, wall_s=0.15)) == "in time"


@pytest.mark.parametrize("limits", [Limits(max_inferlets=1, line_launches=2), Limits(max_inferlets=1, line_bytes=1500)])
def test_behind_a_full_line_a_launch_is_refused_and_leaves_nothing(scene, limits):
    async def play(server):
        running = [await server.launch("async def main():" + WAIT)]
        with pytest.raises(BusyError, match=r"1 inferlets run already.*try again later"):
            while len(running) < 9:
                running.append(await server.launch("async def main():" + WAIT))
        assert server.application.line.refused == 1
        assert len(server.application.inferlets) == len(running)
        for inferlet in running:
            server.application.stop(inferlet, "over")
        return len(running)

    assert 1 < scene(play, limits) < 9


def test_who_waits_gets_no_turn_when_all_are_stopped(scene):
    async def play(server):
        inferlets = [await server.launch("async def main():\n    send('ran')" + WAIT) for _ in range(5)]
        await server.message(inferlets[0])
        await server.application.shut_down("the server shuts down")
        return [await server.event(inferlet) for inferlet in inferlets[1:]]

    assert [event.error for event in scene(play, Limits(max_inferlets=1))] == ["the server shuts down"] * 4


def test_draining_waits_for_those_in_line_but_not_for_ever(scene):
    async def play(server):
        short = [await server.launch("async def main():\n    await asyncio.sleep(0.01)") for _ in range(4)]
        await server.application.drain(20)
        assert [inferlet.outcome.status for inferlet in short] == ["finished"] * 4
        for_ever = await server.launch("async def main():" + WAIT)
        await server.application.drain(0.05)
        assert for_ever.outcome is None
        server.application.stop(for_ever, "over")
        with pytest.raises(TerminatedError):
            for_ever.check_running()
        async with asyncio.timeout(20):
            await server.application.drain(60)

    scene(play, Limits(max_inferlets=2))
