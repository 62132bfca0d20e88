"""The system under simulation, and the simulation itself: it replays, it shrinks, and it finds what was planted."""

import ast
import subprocess
import sys
from collections import Counter
from itertools import accumulate, product

import pytest

from pie_core.application.channel import Channel
from pie_core.testing.simulation import Client, Visit, World, draw_world, load_installed, simulate
from pie_core.testing.simulation.shrink import shrink

from .planted import BUGS, REPOSITORY, find

SEEDS = range(200)
QUICK = [
    "a write does not wait for the reads before it",
    "a page is free while a command uses it",
    "the oldest inferlet gives way",
    "stop leaves spaces behind",
    "what runs in steps is not stopped with its inferlet",
]


@pytest.fixture(scope="module")
def installed():
    return load_installed()


@pytest.fixture(scope="module")
def findings(installed):
    return {seed: simulate(draw_world(seed, installed), installed) for seed in SEEDS}


def worlds(installed, count):
    return (draw_world(seed, installed) for seed in range(count))


def test_nothing_is_broken(findings):
    broken = {seed: finding.broken for seed, finding in findings.items() if finding.broken is not None}
    assert not broken, "python -m pie_core.testing.simulation --trace --seed SEED tells more"


def test_the_same_seed_gives_the_same_log(installed):
    logs = [simulate(draw_world(seed, installed), installed).log for seed in (1, 4, 17, 1, 4, 17)]
    assert logs[:3] == logs[3:] and all(len(log) > 10 for log in logs[:3])


def test_a_world_prints_as_what_makes_it():
    world = draw_world(4)
    assert eval(repr(world), {"World": World, "Visit": Visit, "Client": Client}) == world
    ast.parse(repr(world), mode="eval")


def test_worlds_differ_and_have_every_fault(installed):
    """The mean world must not be one in which nothing can go wrong."""
    drawn = list(worlds(installed, 300))
    verbs = {operation[0] for world in drawn for visit in world.visits for operation in visit.operations}
    assert {"branches", "cancelled", "export", "import", "stubborn", "raise", "exit", "leave", "wrong"} <= verbs
    assert any(world.shut_down_at is not None for world in drawn) and any(world.shuffled for world in drawn)
    assert any(visit.client.leaves is not None for world in drawn for visit in world.visits)
    assert len({repr(world) for world in drawn}) == 300


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


def test_worlds_have_every_policy_and_a_third_of_them_the_classic_pair(installed):
    pairs = Counter((world.dispatch.split()[0], world.contention.split()[0]) for world in worlds(installed, 600))
    assert pairs.keys() == set(product(installed.dispatch, installed.contention))
    assert pairs["adaptive", "fcfs-kill"] >= 200 and min(pairs.values()) >= 10


def test_things_really_move_to_host_memory_and_back_and_some_copies_fail(findings):
    """Else there would be nothing to get wrong."""
    text = "\n".join(line for finding in findings.values() for line in finding.log)
    assert text.count(" swap_out of ") > 20 and text.count(" swap_in of ") > 10
    assert "has lost what was moved for it" in text


def test_commands_really_run_in_steps_beside_others_and_fail_and_are_stopped(findings):
    """Else there would be nothing to get wrong."""
    lines = [line for finding in findings.values() for line in finding.log]
    ended = [
        one for line in lines if "ended in steps: " in line for one in line.split("ended in steps: ")[1].split(", ")
    ]
    how = Counter(one.split()[-1] for one in ended)
    assert how.keys() == {"ran", "failed", "stopped"} and how["ran"] > 100 and min(how.values()) >= 5
    assert any(line.count(" ran") > 1 for line in lines)  # in the same step
    after = [finding for finding in findings.values() if _runs_on_after_its_end(finding.log)]
    assert after, "nothing was left running because others want it"


def _runs_on_after_its_end(log):
    """Whether a command ran to its end that belongs to an inferlet which had ended."""
    gone = set()
    for line in log:
        words = line.split()
        if words[3:4] == ["ended:"]:
            gone.add(words[2])
        if "ended in steps: " in line and any(
            one.split()[0] in gone and one.endswith(" ran") for one in line.split("ended in steps: ")[1].split(", ")
        ):
            return True
    return False


def test_several_waves_really_are_in_flight_and_cycles_of_waits_really_end(findings):
    most = Counter()
    for finding in findings.values():
        flying = list(accumulate(("a wave: " in line) - ("a wave is done" in line) for line in finding.log))
        most[finding.world.dispatch.split()[0]] = max(most[finding.world.dispatch.split()[0]], *flying, 0)
    assert min(most[name] for name in ("eager", "k-only", "t-only")) > 1 and most["eager"] > 4
    waits = [finding for finding in findings.values() if finding.world.contention == "wait"]
    assert any(" gives way" in line for finding in waits for line in finding.log)


def test_a_failing_world_is_shrunk_to_what_fails(monkeypatch, installed):
    """The second message of a channel is lost: one inferlet that reads or sends twice shows it."""
    put = Channel.put

    def lose(channel, message):
        channel.counted = getattr(channel, "counted", 0) + 1
        if channel.counted != 2:
            put(channel, message)

    monkeypatch.setattr(Channel, "put", lose)

    def fails(world):
        return simulate(world, installed).broken is not None

    world = next(world for world in worlds(installed, 100) if fails(world) and len(world.visits) > 2)
    small = shrink(world, fails)
    assert fails(small)
    (visit,) = small.visits
    assert len(visit.operations) <= 4 and small.seed == world.seed


def test_several_processes_share_the_seeds():
    command = [sys.executable, "-m", "pie_core.testing.simulation", "--first", "1", "--seeds", "2", "--processes", "2"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert run.stdout.startswith("2 seeds from 1 on: nothing is broken")


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
