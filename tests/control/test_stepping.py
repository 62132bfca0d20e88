"""Commands that run in steps: together, beside waves; what waits for one waits until it is done, well or badly."""

from typing import Any

import pytest

from pie_core import (
    UNFINISHED,
    Command,
    DeviceError,
    Embed,
    HandleError,
    HandlerSpec,
    KvPage,
    Planned,
    Reads,
    Trait,
    Writes,
)
from pie_core.control.observer import Observer
from pie_core.plugins import Selection
from pie_core.registry import Registry, load_registry, realize
from pie_core.testing import FakeBackend, fake_handlers
from pie_core.testing.conformance.books import discrepancies, leaks
from pie_core.testing.rig import make_rig


class Count(Command):
    """Count down; from 15 it fails at 13."""

    stepwise = True
    returns = str
    out: Writes[Embed]
    page: Writes[KvPage]
    seen: Reads[Embed] = ()
    down: int = 3
    left: Planned[int | None] = None
    concluded: Planned[Any] = "not yet"

    def conclude(self, result):
        assert self.concluded == "not yet"
        self.concluded = result
        concluded.append((self.down, result))
        if self.down == 12:
            raise RuntimeError("cannot count")
        if result is not None:
            self.out[0].position = self.down


COUNTING = Trait(name="counting", version="1.0.0", doc="Count.", calls=(Count,), requires=("forward>=1",))
concluded: list[tuple[int, Any]] = []


class Handler:
    def __init__(self, backend):
        self._embeds = backend.embeds
        self.steps: list[list[int]] = []

    def count(self, batch):
        self.steps.append([command.down for command in batch])
        if any((command.down, command.left) == (15, 13) for command in batch):
            raise RuntimeError("unlucky")
        for command in batch:
            command.left = (command.down if command.left is None else command.left) - 1
            if command.left <= 0:
                self._embeds[command.out[0].index] = b"counted"
        return [UNFINISHED if command.left > 0 else f"from {command.down}" for command in batch]


@pytest.fixture
def rig():
    concluded.clear()
    backend = FakeBackend(pages=8, embeds=16)
    registry = Registry([*load_registry(Selection()).traits.values(), COUNTING])
    handlers = [*fake_handlers(), HandlerSpec("counting>=1", "fake", Handler)]
    rig = make_rig(backend=backend, realization=realize(registry, handlers, "fake", backend))
    yield rig
    rig.loop.run()
    assert discrepancies(rig.layer) == []
    for space in list(rig.layer.spaces.values()):
        rig.layer.close(space)
    rig.loop.run()
    assert leaks(rig.layer) == []


def steps(rig):
    return rig.device._runner._routes[Count].__self__.steps


def start(p, down, **more):
    """A command, with an Embed and a page of its own."""
    (out,), (page,) = p.call("alloc_emb", 1), p.call("alloc_kvpage", 1)
    return out, page, p.call("count", [out], [page], more.get("seen", []), down)


def test_others_join_and_leave_between_steps(rig):
    p = rig.open()
    _, _, long = start(p, 5)
    for _ in range(3):
        rig.loop.step()
    _, _, short = start(p, 2)
    rig.loop.run()
    assert long.result() == "from 5" and short.result() == "from 2"
    assert steps(rig)[0] == [5] and [5, 2] in steps(rig) and steps(rig)[-1] == [5]
    assert sorted(concluded) == [(2, "from 2"), (5, "from 5")]


def test_a_wave_runs_between_two_steps(rig):
    p = rig.open()
    _, _, counting = start(p, 600)
    (emb,) = p.call("alloc_emb", 1)
    quick = p.call("embed_txt", [1], [0], [emb])
    while not quick.done:
        assert rig.loop.step()
    assert not counting.done
    rig.loop.run()
    assert counting.result() == "from 600"


def test_who_observes_is_told_when_each_has_ended_and_how(rig):
    class Ends(Observer):
        def concluded(self, submission):
            ended.append((submission.command.down, submission.ticket.value, submission.error is None))

    ended = []
    rig.layer.observers.add(Ends())
    p = rig.open()
    for down in (5, 2, 15):
        start(p, down)
    rig.loop.run()
    assert ended == [(2, "from 2", True), (15, None, False), (5, "from 5", True)]


def test_what_waits_for_it_waits_until_it_is_done(rig):
    p = rig.open()
    out, _, first = start(p, 6)
    reader = p.call("count", p.call("alloc_emb", 1), p.call("alloc_kvpage", 1), [out], 1)
    writer = p.call("embed_txt", [1], [0], [out])
    while not first.done:
        assert not reader.done and not writer.done
        rig.loop.step()
    rig.loop.run()
    assert reader.result() == "from 1" and writer.error is None
    embed = p.space.resolve(Embed, [out], "test")[0]
    assert embed.position == 6  # concluded after the write was planned


def test_it_waits_for_what_comes_before(rig):
    p = rig.open()
    (emb,) = p.call("alloc_emb", 1)
    p.call("embed_txt", [1], [0], [emb])
    _, _, counting = start(p, 1, seen=[emb])
    rig.loop.run()
    assert counting.result() == "from 1" and rig.device.shapes == [[("embed_txt", 1), ("count", 1)]]


def test_only_the_culprit_fails_and_what_depends_on_it(rig):
    p = rig.open()
    _, _, sound = start(p, 9)
    out, page, bad = start(p, 15)
    behind = p.call("count", p.call("alloc_emb", 1), p.call("alloc_kvpage", 1), [out], 1)
    rig.loop.run()
    assert sound.result() == "from 9"
    with pytest.raises(DeviceError, match="count failed on the device: RuntimeError: unlucky"):
        bad.result()
    with pytest.raises(DeviceError, match="skipped, because a count it depends on failed"):
        behind.result()
    with pytest.raises(HandleError, match="left unwritten by a count that failed"):
        p.call("count", p.call("alloc_emb", 1), [page], [], 1)
    assert sorted(concluded, key=str) == [(1, None), (15, None), (9, "from 9")]


def test_one_that_cannot_conclude_fails_alone(rig):
    p = rig.open()
    out, _, bad = start(p, 12)
    _, _, sound = start(p, 12 - 1)
    _, _, later = start(p, 12 - 1)
    behind = p.call("count", p.call("alloc_emb", 1), p.call("alloc_kvpage", 1), [out], 1)
    rig.loop.run()
    assert (sound.result(), later.result()) == ("from 11", "from 11")
    with pytest.raises(DeviceError, match="count failed on the host: RuntimeError: cannot count"):
        bad.result()
    with pytest.raises(DeviceError, match="skipped, because a count it depends on failed"):
        behind.result()
    assert sorted(concluded, key=str) == [(1, None), (11, "from 11"), (11, "from 11"), (12, "from 12")]


def test_one_behind_a_failure_in_its_wave_does_not_begin(rig):
    p = rig.open()
    emb, other = p.call("alloc_emb", 2)
    p.call("embed_txt", [1], [0], [emb])
    rig.loop.run()
    rig.backend.embeds.clear()  # the pass will fail
    bad = p.call("forward", [], [emb], p.call("alloc_kvpage", 1), [other])
    _, _, counting = start(p, 3, seen=[other])
    rig.loop.run()
    assert bad.error is not None
    with pytest.raises(DeviceError, match="skipped, because a forward it depends on failed"):
        counting.result()
    assert steps(rig) == [] and concluded == [(3, None)]


def test_it_is_stopped_with_its_inferlet_and_holds_what_it_touches_until_then(rig):
    p = rig.open()
    out, page, counting = start(p, 10**9)
    for _ in range(6):
        rig.loop.step()
    behind = p.call("count", [out], [page], [], 1)
    before = rig.free()
    rig.layer.close(p.space)
    assert rig.free() == before and behind.error is not None
    rig.loop.run()  # it would never end
    assert concluded[-1] == (10**9, None) and counting.done
    assert rig.free() == (8, 16)


def test_it_runs_on_for_others_after_its_inferlet_has_ended_until_nobody_wants_it(rig):
    p = rig.open()
    _, page, short = start(p, 9)
    _, other, long = start(p, 10**9)
    for name, exported in (("short", page), ("long", other)):
        p.call("export_kvpage", [exported], name, None)
    for _ in range(6):
        rig.loop.step()
    rig.layer.close(p.space)
    while not short.done:
        rig.loop.step()
    assert short.result() == "from 9" and not long.done
    rig.layer.memory.release("user", "short")
    rig.layer.memory.release("user", "long")
    rig.loop.run()
    assert concluded == [(9, "from 9"), (10**9, None)] and rig.free() == (8, 16)


def test_what_others_want_finds_what_was_written_before_it_by_one_that_its_inferlet_left_running(rig):
    p = rig.open()
    out, _, counting = start(p, 9)
    page = p.call("alloc_kvpage", 1)
    reader = p.call("count", p.call("alloc_emb", 1), page, [out], 1)
    p.call("export_kvpage", page, "read", None)
    for _ in range(6):
        rig.loop.step()
    rig.layer.close(p.space)
    rig.loop.run()
    assert counting.result() == "from 9" and reader.result() == "from 1"
    rig.layer.memory.release("user", "read")


def test_a_queue_is_synchronized_when_it_is_done(rig):
    p = rig.open()
    _, _, counting = start(p, 4)
    barrier = p.space.queue(p.q, "test").synchronize()
    while not counting.done:
        assert not barrier.done
        rig.loop.step()
    rig.loop.run()
    assert barrier.done


def test_the_device_hears_when_nobody_asks_for_more(rig):
    """So that it need not wait for company before the next step; not while a program that was answered goes on."""
    heard = []
    rig.device.proceed = lambda: heard.append(len(rig.device.shapes))
    p = rig.open()
    start(p, 40)
    (emb,) = p.call("alloc_emb", 1)
    p.call("embed_txt", [1], [0], [emb]).watch(lambda _: p.call("embed_txt", [2], [0], [emb]))
    rig.loop.run()
    assert heard[:1] == [2]  # behind the second wave, which the first one's answer had asked for
