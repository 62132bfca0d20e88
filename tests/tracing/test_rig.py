"""A few commands step by step, at times of the test's own choice: what the trace must say is told by hand."""

from dataclasses import replace

import msgspec
import pytest

from pie_core import ArgumentError, DeviceError, HandlerSpec
from pie_core.inference.watching import watched
from pie_core.plugins import Selection
from pie_core.registry import Registry, load_registry, realize
from pie_core.testing import FakeBackend, fake_handlers
from pie_core.testing.inline import ManualLoop
from pie_core.testing.rig import make_rig
from pie_core.tracing.recorder import Recorder

from ..control.test_host_work import TALLYING, Tallying
from .reading import check, check_commands


class Watched:
    """A rig whose events are kept. trace: what they say so far."""

    def __init__(self):
        self.loop, self.events = ManualLoop(), []
        backend = FakeBackend(pages=8, embeds=64, page_size=4)
        registry = Registry([*load_registry(Selection()).traits.values(), TALLYING])
        specs = [*fake_handlers(), HandlerSpec("tallying", "fake", Tallying)]
        realization = realize(registry, specs, "fake", backend)
        model = Recorder(self.events.append, self.loop.now).model("fake", realization.traits.values())
        routes = watched(realization.routes, self.loop.now, model.ran)
        self.rig = make_rig(
            backend=backend,
            realization=replace(realization, routes=routes),
            loop=self.loop,
            observer=model,
        )

    def at(self, seconds):
        """Time moves on, and one thing happens."""
        self.loop.time = seconds
        assert self.loop.step()

    @property
    def trace(self):
        trace = check([msgspec.to_builtins(event) for event in self.events])
        check_commands(trace)
        return trace


def times(span):
    return span["ts"], span["ts"] + span["dur"]


def test_a_command_is_shown_from_enqueued_over_launched_to_settled():
    watched = Watched()
    program = watched.rig.open("first")
    watched.loop.time = 1.0
    program.prompt([1, 2, 3])
    watched.at(1.25)  # the layer looks at what is ready; it launches
    while watched.loop.step():
        watched.loop.time += 0.25
    ((inferlet, command, run),) = watched.trace.commands()
    launched, settled = times(run)
    assert inferlet == "first"
    assert command["name"] == "embed_txt"
    assert command["args"] == {"number": 1, "weight": 3}
    assert times(command) == (1_000_000, settled)
    assert 1_250_000 <= launched < settled
    ((trait, wave),) = watched.trace.waves()
    assert (trait, times(wave)) == ("input_text", (launched, settled))
    assert wave["args"]["longest_wait_us"] == launched - 1_000_000


def test_a_wave_says_who_is_in_it_by_trait():
    watched = Watched()
    for name in ("first", "second"):
        program = watched.rig.open(name)
        embeds = program.prompt([1, 2, 3])
        program.call("forward", [], embeds, program.call("alloc_kvpage", 1), [])
    watched.loop.run()
    (forward, embed) = sorted(watched.trace.waves())
    assert embed[0] == "input_text"
    assert embed[1]["name"] == "embed_txt x 2"
    assert forward[0] == "forward"
    assert forward[1]["args"] == {
        "wave": 1,
        "commands": {"forward": 2},
        "weight": 6,
        "longest_wait_us": 0,
        "inferlets": ["first", "second"],
    }
    assert [span["name"] for _, _, span in watched.trace.of("device")] == ["embed_txt", "forward"]
    assert [span["args"]["commands"] for _, _, span in watched.trace.of("device")] == [2, 2]


def test_what_overlaps_in_a_queue_has_a_track_each_and_tracks_are_used_again():
    watched = Watched()
    program = watched.rig.open("first")
    for _ in range(3):
        program.prompt([1, 2, 3])
        program.prompt([1, 2, 3])
        watched.loop.run()
    queue = f"queue {program.q}"
    assert [track for track in watched.trace.tracks.values() if track.startswith("queue")] == [queue, f"{queue} (2)"]
    assert len(watched.trace.commands()) == 6


def test_a_failure_is_shown_with_its_code_and_its_batch_each_time_it_was_run():
    watched = Watched()
    program = watched.rig.open("first")
    handler = watched.rig.device._runner._routes
    kind = next(kind for kind in handler if kind.signature().name == "embed_txt")
    whole = handler[kind]

    def fail(batch):
        whole(batch)
        raise RuntimeError("bad luck")

    handler[kind] = fail
    first = program.call("embed_txt", [1], [0], program.call("alloc_emb", 1))
    program.call("embed_txt", [2], [0], program.call("alloc_emb", 1))
    watched.loop.run()
    with pytest.raises(DeviceError):
        first.result()
    assert [command["args"]["error"] for _, command, _ in watched.trace.commands()] == ["device", "device"]
    assert [span["args"]["commands"] for _, _, span in watched.trace.of("device")] == [2, 1, 1]


def test_what_is_refused_is_in_no_queue_and_what_is_dropped_was_never_run():
    watched = Watched()
    program = watched.rig.open("first")
    with pytest.raises(ArgumentError):
        program.call("embed_txt", [1], [0, 1], program.call("alloc_emb", 1))
    program.call("embed_txt", [1], [0], program.call("alloc_emb", 1))
    watched.rig.layer.close(program.space)
    watched.loop.run()
    ((_, command, run),) = watched.trace.commands()
    assert run is None
    assert command["args"]["error"] == "terminated"
    assert watched.trace.waves() == []


def test_a_command_of_the_host_is_in_no_wave_and_on_a_track_of_the_host():
    watched = Watched()
    program = watched.rig.open("first")
    program.call("add_tally", program.call("alloc_tally", 1), 3)
    watched.loop.time = 1.0
    watched.loop.run()
    ((_, command, run),) = watched.trace.commands()
    assert command["name"] == "add_tally"
    assert times(command) == (0, 1_000_000)
    assert (run["name"], times(run)) == ("host", (0, 1_000_000))
    assert watched.trace.waves() == []
    assert [span["name"] for _, track, span in watched.trace.of("host")] == ["add_tally"]
