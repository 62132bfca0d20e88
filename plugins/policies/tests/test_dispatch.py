"""When each policy launches, on a manual loop with virtual time."""

import pytest
from pie_policies.eager import Eager
from pie_policies.k_only import KOnly, KOnlyOptions
from pie_policies.t_only import TOnly, TOnlyOptions
from pie_policies.wait import Wait

from pie_core import ConfigError
from pie_core.control.dispatch import Adaptive
from pie_core.testing.rig import make_rig

POLICIES = [Adaptive, Eager, lambda: KOnly(KOnlyOptions(k=3)), lambda: TOnly(TOnlyOptions())]


def k_only(k, patience_ms=20.0):
    return make_rig(dispatch=KOnly(KOnlyOptions(k, patience_ms)))


def waves(rig, call="embed_txt"):
    """For each wave, how many commands of a call it had."""
    return [sum(size for name, size in wave if name == call) for wave in rig.device.shapes]


def step_of(program):
    """One decode step: embed, forward, distribution."""
    embeds, page = program.prompt([1]), program.call("alloc_kvpage", 1)
    program.call("forward", [], embeds, page, embeds)
    return program.call("get_next_dist", embeds)


@pytest.mark.parametrize("make", POLICIES)
def test_every_policy_finishes_all_and_computes_the_same(make):
    rig, plain = make_rig(dispatch=make()), make_rig()
    got = [step_of(rig.open(f"p{i}")) for i in range(5)]
    expected = [step_of(plain.open(f"p{i}")) for i in range(5)]
    rig.loop.advance(1.0)
    plain.loop.advance(1.0)
    assert all(one.done for one in got)
    assert [list(one.value.probs) for one in got] == [list(one.value.probs) for one in expected]


def test_eager_launches_each_command_by_itself_without_waiting_for_the_one_before():
    rig = make_rig(dispatch=Eager())
    for name in "abc":
        step_of(rig.open(name))
    assert rig.device.shapes == [[(call, 1)] for _ in "abc" for call in ("embed_txt", "forward", "get_next_dist")]


def test_k_only_launches_when_k_of_a_kind_are_there_and_not_before():
    rig = k_only(3)
    programs = [rig.open(name) for name in "abc"]
    for program in programs[:2]:
        program.prompt([1])
        rig.loop.run()
    assert waves(rig) == []
    programs[2].prompt([1])
    rig.loop.run()
    assert waves(rig) == [3]


def test_k_only_counts_each_kind_by_itself():
    rig = k_only(3)
    embeds = [rig.open(name).prompt([1]) for name in "abc"]
    rig.loop.run()
    assert len(embeds) == 3 and waves(rig) == [3]
    for program in (rig.open("d"), rig.open("e")):
        program.prompt([1])
    program.call("copy_kvpage", program.call("alloc_kvpage", 1), program.call("alloc_kvpage", 1))
    rig.loop.run()
    assert waves(rig) == [3]


def test_k_only_launches_fewer_when_nothing_has_come_for_its_patience():
    rig = k_only(3, patience_ms=20.0)
    one, other = rig.open("a"), rig.open("b")
    one.prompt([1])
    rig.loop.advance(0.015)
    other.prompt([1])  # starts the patience anew
    rig.loop.advance(0.015)
    assert waves(rig) == []
    rig.loop.advance(0.010)
    assert waves(rig) == [2]


def test_t_only_launches_at_every_tick_what_has_come_by_then():
    rig = make_rig(dispatch=TOnly(TOnlyOptions(t_ms=10.0)))
    program = rig.open()
    for pause in (0.004, 0.004, 0.004, 0.030):
        program.prompt([1])
        rig.loop.advance(pause)
    assert waves(rig) == [3, 1]
    assert rig.loop.time == pytest.approx(0.042)
    program.prompt([1])
    rig.loop.advance(0.007)
    assert waves(rig) == [3, 1], "0.049 is no tick"
    rig.loop.advance(0.002)
    assert waves(rig) == [3, 1, 1]


def test_t_only_leaves_a_full_batch_to_the_next_tick():
    rig = make_rig(dispatch=TOnly(TOnlyOptions(t_ms=10.0)), batch=2)
    for name in "abc":
        step_of(rig.open(name))
    rig.loop.advance(0.011)
    assert waves(rig, "forward") == [2]
    rig.loop.advance(0.010)
    assert waves(rig, "forward") == [2, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KOnly(KOnlyOptions(k=0)), "k is 0"),
        (lambda: KOnly(KOnlyOptions(patience_ms=float("nan"))), "patience_ms nan"),
        (lambda: TOnly(TOnlyOptions(t_ms=0.0)), r"t_ms is 0\.0; give more than 0"),
    ],
)
def test_options_that_cannot_be_used_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_alarms_that_an_earlier_one_replaced_do_not_add_up_while_somebody_waits_for_room():
    rig = make_rig(pages=1, dispatch=TOnly(TOnlyOptions(t_ms=10.0)), contention=Wait())
    hoarder, waiting = rig.open("hoarder"), rig.open("waiting")
    hoarder.call("alloc_kvpage", 1)
    waiting.call("alloc_kvpage", 1)
    for _ in range(60):
        hoarder.call("dealloc_emb", hoarder.prompt([1]))
        rig.loop.advance(0.05)
    assert len(rig.loop._alarms) < 6
