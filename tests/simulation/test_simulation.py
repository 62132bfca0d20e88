"""The system under simulation, and the simulation itself: it replays, it shrinks, and it finds what was planted."""

import ast

import pytest

from pie_core.application.channel import Channel
from pie_core.plugins import Selection
from pie_core.registry import load_registry
from pie_core.testing.simulation import Client, Visit, World, draw_world, simulate
from pie_core.testing.simulation.shrink import shrink

from .planted import BUGS, REPOSITORY, find

SEEDS = range(200)
QUICK = [
    "a write does not wait for the reads before it",
    "a page is free while a command uses it",
    "the oldest inferlet gives way",
    "stop leaves spaces behind",
]


@pytest.fixture(scope="module")
def registry():
    return load_registry(Selection())


@pytest.fixture(scope="module")
def findings(registry):
    return {seed: simulate(draw_world(seed), registry) for seed in SEEDS}


def test_nothing_is_broken(findings):
    broken = {seed: finding.broken for seed, finding in findings.items() if finding.broken is not None}
    assert not broken, "python -m pie_core.testing.simulation --trace --seed SEED tells more"


def test_the_same_seed_gives_the_same_log(registry):
    logs = [simulate(draw_world(seed), registry).log for seed in (1, 4, 17, 1, 4, 17)]
    assert logs[:3] == logs[3:] and all(len(log) > 10 for log in logs[:3])


def test_a_world_prints_as_what_makes_it():
    world = draw_world(4)
    assert eval(repr(world), {"World": World, "Visit": Visit, "Client": Client}) == world
    ast.parse(repr(world), mode="eval")


def test_worlds_differ_and_have_every_fault():
    """The mean world must not be one in which nothing can go wrong."""
    worlds = [draw_world(seed) for seed in range(300)]
    verbs = {operation[0] for world in worlds for visit in world.visits for operation in visit.operations}
    assert {"branches", "cancelled", "export", "import", "stubborn", "raise", "exit", "leave", "wrong"} <= verbs
    assert any(world.shut_down_at is not None for world in worlds) and any(world.shuffled for world in worlds)
    assert any(visit.client.leaves is not None for world in worlds for visit in world.visits)
    assert len({repr(world) for world in worlds}) == 300


def test_inferlets_really_end_in_every_way(findings):
    lines = [line for finding in findings.values() for line in finding.log]
    assert {line.split("ended: ")[1] for line in lines if " ended: " in line} == {
        "by itself, finished",
        "by itself, failed",
        "stop, stopped",
        "evict, terminated",
        "wall, terminated",
    }


def test_commands_really_run_in_company_and_really_fail(findings):
    """Else there would be nothing to get wrong."""
    lines = [line for finding in findings.values() for line in finding.log]
    batches = [batch for line in lines if "a wave: " in line for batch in ast.literal_eval(line.split("a wave: ")[1])]
    assert sum(len({command.split()[0] for command in batch}) > 1 for batch in batches) > 100
    refused = [line.rsplit(": ", 1)[1] for line in lines if " refused: " in line]
    assert {"argument", "handle", "resource", "terminated"} <= set(refused)


def test_a_failing_world_is_shrunk_to_what_fails(monkeypatch, registry):
    """The second message of a channel is lost: one inferlet that reads or sends twice shows it."""
    put = Channel.put

    def lose(channel, message):
        channel.counted = getattr(channel, "counted", 0) + 1
        if channel.counted != 2:
            put(channel, message)

    monkeypatch.setattr(Channel, "put", lose)

    def fails(world):
        return simulate(world, registry).broken is not None

    world = next(world for world in map(draw_world, range(100)) if fails(world) and len(world.visits) > 2)
    small = shrink(world, fails)
    assert fails(small)
    (visit,) = small.visits
    assert len(visit.operations) <= 4 and small.seed == world.seed


@pytest.mark.parametrize("name", QUICK)
def test_a_planted_bug_is_found(name, tmp_path):
    (bug,) = [bug for bug in BUGS if bug.name == name]
    found = find(bug, tmp_path, seeds=200)
    assert found is not None, f"no seed up to 200 finds that {name}"


def test_every_planted_bug_has_its_place():
    """So that those which are not tried here are not out of date."""
    for bug in BUGS:
        assert (REPOSITORY / bug.file).read_text("utf-8").count(bug.old) == 1, bug.name
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 20
