"""Traces of random worlds in virtual time, held against the simulation's own record of what happened."""

from collections import Counter

import pytest

from pie_core.testing.simulation import draw_world, load_installed
from pie_core.testing.simulation.run import Run
from pie_core.testing.simulation.simulate import quiet
from pie_core.tracing.file import TraceFile
from pie_core.tracing.recorder import Recorder

from .reading import check, check_commands, read

WORLDS = 30


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Worlds with the trace of each."""
    with quiet():
        yield list(make(tmp_path_factory.mktemp("traces")))


def make(directory):
    installed = load_installed()
    for seed in range(WORLDS):
        path, files = directory / f"{seed}.json", []

        def observe(now, traits, path=path, files=files):
            files.append(TraceFile(path, now))
            return Recorder(files[0].put, now).model("fake", traits)

        run = Run(draw_world(seed, installed), installed, observe).go()
        files[0].close()
        yield run, check(read(path.read_text()))


def test_commands_lie_in_their_waves_and_were_enqueued_before(runs):
    for _, trace in runs:
        check_commands(trace)


def test_the_trace_has_every_command_that_was_accepted_and_no_other(runs):
    for run, trace in runs:
        entries = run.watch.ledger._entries.values()
        expected = Counter((e.owner, e.name, e.failed, e.batch is not None) for e in entries)
        found = Counter(
            (inferlet, command["name"], "error" in command["args"], ran is not None and "wave" in ran["args"])
            for inferlet, command, ran in trace.commands()
        )
        assert found == expected


def test_a_batch_is_in_one_wave_of_the_trace_and_batches_in_the_order_of_their_launches(runs):
    for run, trace in runs:
        batches = {entry.submission.seq: entry.batch for entry in run.watch.ledger._entries.values()}
        pairs = {
            (batches[ran["args"]["number"]], ran["args"]["wave"])
            for _, _, ran in trace.commands()
            if ran is not None and "wave" in ran["args"]
        }
        assert len({batch for batch, _ in pairs}) == len(pairs)
        waves = [wave for _, wave in sorted(pairs)]
        assert waves == sorted(waves)


def test_the_counts_are_those_of_the_statistics(runs):
    for run, trace in runs:
        (model,) = run.application.models.values()
        statistics = model.layer.statistics
        in_waves = Counter()
        for _, part in trace.waves():
            in_waves.update(part["args"]["commands"])
        at_host = Counter(command["name"] for _, command, ran in trace.commands() if ran and ran["name"] == "host")
        assert in_waves + at_host == Counter({name: calls.commands for name, calls in statistics.calls.items()})
        assert len({part["args"]["wave"] for _, part in trace.waves()}) == statistics.waves


def test_the_worlds_show_what_there_is_to_see(runs):
    """So that the tests above are about something."""
    tracks = {track for _, trace in runs for track in trace.tracks.values()}
    assert "waves: host memory" in tracks
    assert any(track.startswith("waves: forward (") for track in tracks), "two waves in flight"
    assert any(track.startswith("queue ") and "(3)" in track for track in tracks)
    commands = [each for _, trace in runs for each in trace.commands()]
    assert any(ran is None for _, _, ran in commands)
    assert any("error" in command["args"] for _, command, ran in commands if ran is not None)
