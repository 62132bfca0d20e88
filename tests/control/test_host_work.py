"""Commands of the host: ordered by what they touch, beside the device, inferlets in turn, failures kept apart."""

from typing import Annotated

import pytest

from pie_core import (
    U32,
    ArgumentError,
    Command,
    ControlCall,
    DeclarationError,
    DeviceError,
    Embed,
    HandleError,
    HandlerSpec,
    Handles,
    HostResource,
    Planned,
    Reads,
    ResourceError,
    TerminatedError,
    Trait,
    Writes,
)
from pie_core.inference.device import WORKERS
from pie_core.plugins import Selection
from pie_core.registry import Registry, load_registry, realize
from pie_core.testing import FakeBackend, fake_handlers
from pie_core.testing.conformance.books import discrepancies, leaks
from pie_core.testing.rig import make_rig


class Version:
    """What a tally is after one write; filled in when the write is done."""

    total = None


class Tally(HostResource):
    kind = "tally"
    quota = 3
    __slots__ = ("version",)

    def __init__(self):
        super().__init__()
        self.version = Version()


class AllocTally(ControlCall):
    """Tallies."""

    returns = Annotated[tuple[int, ...], Handles(Tally)]
    n: U32

    def apply(self, space):
        return space.allocate(Tally, self.n)


class DeallocTally(ControlCall):
    """Free tallies."""

    tally: Annotated[tuple[int, ...], Handles(Tally)]

    def apply(self, space):
        space.free(Tally, self.tally)


class AddTally(Command):
    """Add a number."""

    place = "host"
    returns = U32
    tally: Writes[Tally]
    number: U32
    before: Planned[Version | None] = None
    after: Planned[Version | None] = None

    def prepare(self, model):
        self.before, self.after = self.tally[0].version, Version()
        self.tally[0].version = self.after


class ReadTally(Command):
    """The total beside an Embed."""

    returns = U32
    emb: Reads[Embed]
    tally: Reads[Tally]
    version: Planned[Version | None] = None

    def prepare(self, model):
        self.version = self.tally[0].version


TALLYING = Trait("tallying", "1.0", "Tally.", (AllocTally, DeallocTally, AddTally, ReadTally), ("allocate",), (Tally,))


class Tallying:
    def __init__(self, backend):
        pass

    def add_tally(self, batch):
        (command,) = batch
        if command.number == 13:
            raise RuntimeError("bad luck")
        if command.number == 12:
            raise ArgumentError("add_tally: 12 is out of the question")
        command.after.total = (command.before.total or 0) + command.number
        return [command.after.total]

    def read_tally(self, batch):
        return [command.version.total for command in batch]


class Held:
    """Threads of the host that work when they are told to."""

    def __init__(self, rig):
        self.commands = []
        self._runner = rig.device._runner
        rig.device.work = lambda command, worked: self.commands.append((command, worked))

    def finish(self, place=0):
        command, worked = self.commands.pop(place)
        worked(*self._runner.answer(command))


def tally_rig(**options):
    backend = FakeBackend(page_size=4)
    registry = Registry([*load_registry(Selection()).traits.values(), TALLYING])
    specs = [*fake_handlers(), HandlerSpec("tallying", "fake", Tallying)]
    return make_rig(backend=backend, realization=realize(registry, specs, "fake", backend), **options)


@pytest.fixture
def rig():
    rig = tally_rig()
    yield rig
    rig.loop.run()
    assert discrepancies(rig.layer) == []
    for space in list(rig.layer.spaces.values()):
        rig.layer.close(space)
    rig.loop.run()
    assert leaks(rig.layer) == []


def test_a_resource_of_the_host_needs_no_pool_of_the_backend(rig):
    assert Tally not in rig.backend.capacity
    assert rig.layer.pools[Tally].capacity == Tally.capacity


def test_an_inferlet_may_hold_as_many_as_the_kind_says(rig):
    program = rig.open()
    (first, *_) = program.call("alloc_tally", 3)
    with pytest.raises(ResourceError, match="over the 3 that one inferlet may hold"):
        program.call("alloc_tally", 1)
    program.call("dealloc_tally", [first])
    assert len(program.call("alloc_tally", 1)) == 1
    assert len(rig.open("b").call("alloc_tally", 3)) == 3


def test_limits_of_an_inferlet_go_before_what_the_kind_says(rig):
    program = rig.open("a", quota={Tally: 5})
    assert len(program.call("alloc_tally", 5)) == 5


def test_commands_on_one_resource_run_in_the_order_of_enqueueing_also_over_queues(rig):
    held, program = Held(rig), rig.open()
    other = program.space.create_queue()
    tally = program.call("alloc_tally", 1)
    tickets = [program.call("add_tally", tally, n, q=program.q if n % 2 else other) for n in (1, 2, 3)]
    for _ in range(3):
        assert len(held.commands) == 1
        held.finish()
    assert [ticket.result() for ticket in tickets] == [1, 3, 6]


def test_no_wave_is_launched_for_them(rig):
    program = rig.open()
    program.call("add_tally", program.call("alloc_tally", 1), 1)
    rig.loop.run()
    assert rig.layer.statistics.waves == 0
    assert rig.layer.statistics.calls["add_tally"].commands == 1


def test_a_command_of_the_device_runs_when_the_write_before_it_is_done_and_sees_that_version(rig):
    held, program = Held(rig), rig.open()
    tally, emb = program.call("alloc_tally", 1), program.prompt([1])
    answers = []
    for number in (1, 2):
        program.call("add_tally", tally, number)
        answers.append(program.call("read_tally", emb, tally))
    rig.loop.run()
    assert not answers[0].done and len(held.commands) == 1
    held.finish()
    assert len(held.commands) == 1, "the second write does not wait for the first reader"
    held.finish()
    rig.loop.run()
    assert [answer.result() for answer in answers] == [1, 3]
    assert rig.device.shapes[-1] == [("read_tally", 2)]


def test_inferlets_take_turns_and_each_has_one_thread_at_a_time(rig):
    held = Held(rig)
    greedy = rig.open("greedy")
    greedy_tallies = greedy.call("alloc_tally", 3)
    for tally in greedy_tallies * 2:
        greedy.call("add_tally", [tally], 100)
    others = [rig.open(f"o{n}") for n in range(WORKERS)]
    for number, program in enumerate(others):
        program.call("add_tally", program.call("alloc_tally", 1), number)
    assert [command.number for command, _ in held.commands] == [100, *range(WORKERS - 1)]
    held.finish()  # greedy's first; now it is the last one's turn
    assert [command.number for command, _ in held.commands] == [*range(WORKERS)]
    while held.commands:
        held.finish()


def test_a_failure_reaches_its_command_and_what_depends_on_it(rig):
    held, program = Held(rig), rig.open()
    (bad,), (good,) = program.call("alloc_tally", 1), program.call("alloc_tally", 1)
    emb = program.prompt([1])
    failing = program.call("add_tally", [bad], 13)
    behind = [program.call("add_tally", [bad], 1) for _ in range(3000)]  # however many: no recursion
    reader = program.call("read_tally", emb, [bad])
    sound = program.call("add_tally", [good], 5)
    while held.commands:
        held.finish()
    rig.loop.run()
    assert isinstance(failing.error, DeviceError) and "add_tally failed on the host: RuntimeError" in str(failing.error)
    assert {str(ticket.error) for ticket in (*behind, reader)} == {"skipped, because a add_tally it depends on failed"}
    assert sound.result() == 5
    with pytest.raises(HandleError, match="left unwritten"):
        program.call("add_tally", [bad], 1)
    program.call("dealloc_tally", [bad])


def test_an_error_of_the_handlers_own_comes_as_it_is(rig):
    program = rig.open()
    ticket = program.call("add_tally", program.call("alloc_tally", 1), 12)
    rig.loop.run()
    assert isinstance(ticket.error, ArgumentError)


def test_synchronize_reports_their_errors(rig):
    program = rig.open()
    program.call("add_tally", program.call("alloc_tally", 1), 12)
    barrier = program.space.queues[program.q].synchronize()
    rig.loop.run()
    assert isinstance(barrier.error, ArgumentError)


def test_an_inferlet_may_end_while_its_commands_are_at_work_or_in_line(rig):
    held, program, other = Held(rig), rig.open(), rig.open("other")
    tally = program.call("alloc_tally", 1)
    tickets = [program.call("add_tally", tally, 1) for _ in range(3)]
    line = [program.call("add_tally", program.call("alloc_tally", 1), 1) for _ in range(2)]
    survivor = other.call("add_tally", other.call("alloc_tally", 1), 7)
    rig.layer.close(program.space)
    assert all(isinstance(ticket.error, TerminatedError) for ticket in (*tickets, *line))
    while held.commands:
        held.finish()
    assert survivor.result() == 7
    assert rig.layer.pools[Tally].free == Tally.capacity - 1


def test_a_command_of_the_host_cannot_name_what_lives_on_the_device():
    class Odd(Command):
        """Odd."""

        place = "host"
        emb: Reads[Embed]

    with pytest.raises(DeclarationError, match="odd runs on the host and names a embed"):
        Trait("odd", "1", "d", (Odd,))


def test_a_command_of_the_device_cannot_write_what_lives_on_the_host():
    class Odd(Command):
        """Odd."""

        tally: Writes[Tally]

    with pytest.raises(DeclarationError, match="odd runs on the device and writes a tally"):
        Trait("odd", "1", "d", (Odd,))
