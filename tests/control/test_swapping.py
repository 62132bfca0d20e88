"""Swapping changes nothing: random programs, whose resources are moved out at any moment, against those left alone.

What is moved is all that the mechanism would allow a policy to move, whether anybody needs the room or not.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from pie_core.control.swap_policy import Swap, SwapOptions
from pie_core.testing.rig import make_rig

from .players import ADAPTERS, EMBEDS, PAGES, SIZE, Player, play, program

moments = st.lists(st.sampled_from([0, 0, 1, 2, 3]), min_size=50, max_size=50)  # bit set of the kinds to move


def make(**options):
    return make_rig(pages=2 * PAGES + 2, embeds=2 * EMBEDS, page_size=SIZE, adapters=ADAPTERS, **options)


def move_out(rig, kinds):
    swapping, spaces = rig.layer.memory.swapping, list(rig.layer.spaces.values())
    nobody = rig.layer.open("nobody", "user")
    for number, kind in enumerate(rig.layer.kinds):
        if kinds >> number & 1:
            for stalled in swapping.stalled(kind, nobody, spaces, standstill=True):
                swapping.swap_out(stalled.space, kind)
    rig.layer.close(nobody)
    rig.layer.scheduler.look()


def bring_back(rig):
    for space in rig.layer.spaces.values():
        for swapped in space.swapped:
            if swapped.resting:
                rig.layer.memory.swapping.recall(swapped)
    rig.layer.memory.grant()
    rig.loop.advance(1.0)


def start(steps, moments):
    rig = make(contention=Swap(SwapOptions()))
    players = [Player(rig, "a"), Player(rig, "b")]
    for (who, queue, command, turns), kinds in zip(steps, moments, strict=False):
        players[who].play(queue, command)
        for _ in range(turns):
            rig.loop.step()
        move_out(rig, kinds)
    return rig, players


def read(rig):
    return lambda page, slot: rig.backend.slots[page, slot]


@settings(max_examples=150, deadline=None)
@given(program, moments)
def test_moving_things_out_at_any_moment_changes_no_result_and_no_content(steps, moments):
    rig, players = start(steps, moments)
    rig.loop.advance(10.0)
    bring_back(rig)
    moved = [player.results() for player in players], [player.state(read(rig)) for player in players]
    plain = make()
    assert moved == play(plain, read(plain), steps, alone=True)


@settings(max_examples=100, deadline=None)
@given(program, moments, st.integers(0, 3))
def test_ending_inferlets_at_any_moment_leaves_nothing_behind(steps, moments, turns):
    rig, players = start(steps, moments)
    for player in players:
        rig.layer.close(player.program.space)
        for _ in range(turns):
            rig.loop.step()
    rig.loop.advance(10.0)
    for pool in rig.layer.pools.values():
        assert (pool.free, pool.draining, pool.leaving, pool.head) == (pool.capacity, 0, 0, None)
    assert rig.layer.memory.swapping.used_bytes == 0


def test_the_players_really_have_things_moved():
    embed = 0, 0, ("embed_txt", [1, 2], 0, [0, 1]), 0
    forward = 0, 0, ("forward", [0], [0, 1], [0], [0], "causal", None), 4
    rig, _ = start([embed, forward] * 4, [0, 3] * 4)
    rig.loop.advance(10.0)
    assert {"swap_out", "swap_in"} <= rig.layer.statistics.calls.keys()
