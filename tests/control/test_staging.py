"""Commands of the device with a part on the host before it: beside the device, in order, failures kept apart."""

import pytest

from pie_core import (
    U32,
    Command,
    DeclarationError,
    DeviceError,
    Embed,
    HandlerSpec,
    Planned,
    PluginError,
    ResourceError,
    TerminatedError,
    Trait,
    Writes,
)
from pie_core.plugins import Selection
from pie_core.registry import Registry, load_registry, realize
from pie_core.testing import FakeBackend, fake_handlers
from pie_core.testing.conformance.books import discrepancies, leaks
from pie_core.testing.fake import digest
from pie_core.testing.rig import make_rig


class EmbedSecret(Command):
    """Write the embedding of a number that has to be found out first."""

    staged = True
    number: U32
    emb: Writes[Embed]
    found: Planned[int | None] = None

    def prepare(self, model):
        self.emb[0].position = 0


SECRETS = Trait("secrets", "1.0", "Secrets.", (EmbedSecret,), ("allocate",))


class Secrets:
    def __init__(self, backend):
        self._backend = backend

    def stage_embed_secret(self, command):
        if command.number == 13:
            raise ResourceError("embed_secret: 13 is never found out")
        if command.number == 14:
            raise RuntimeError("bad luck")
        command.found = 10 * command.number

    def embed_secret(self, batch):
        for command in batch:
            self._backend.embeds[command.emb[0].index] = digest("secret", command.found)


class Held:
    """Threads of the host that work when they are told to."""

    def __init__(self, rig):
        self.commands = []
        self._runner = rig.device._runner
        rig.device.work = lambda command, worked: self.commands.append((command, worked))

    def finish(self, place=0):
        command, worked = self.commands.pop(place)
        worked(*self._runner.answer(command))


@pytest.fixture
def rig():
    backend = FakeBackend(page_size=4)
    registry = Registry([*load_registry(Selection()).traits.values(), SECRETS])
    specs = [*fake_handlers(), HandlerSpec("secrets", "fake", Secrets)]
    rig = make_rig(backend=backend, realization=realize(registry, specs, "fake", backend))
    yield rig
    rig.loop.run()
    assert discrepancies(rig.layer) == []
    for space in list(rig.layer.spaces.values()):
        rig.layer.close(space)
    rig.loop.run()
    assert leaks(rig.layer) == []


def test_what_the_host_found_out_is_there_when_the_device_runs(rig):
    program = rig.open()
    embeds = program.call("alloc_emb", 2)
    for number, embed in enumerate(embeds):
        program.call("embed_secret", number, [embed])
    assert program.hashes(embeds) == [digest("secret", 0), digest("secret", 10)]


def test_the_device_goes_on_with_others_and_what_depends_on_it_waits(rig):
    held, program, other = Held(rig), rig.open(), rig.open("other")
    embed, page = program.call("alloc_emb", 1), program.call("alloc_kvpage", 1)
    written = program.call("embed_secret", 1, embed)
    run = program.call("forward", [], embed, page, embed)
    plain = other.prompt([1])
    rig.loop.run()
    assert not written.done and not run.done and rig.device.shapes == [[("embed_txt", 1)]]
    held.finish()
    rig.loop.run()
    assert written.done and run.done and rig.device.shapes[1:] == [[("embed_secret", 1), ("forward", 1)]]
    assert other.hashes(plain) == [digest("token", 1)]


def test_the_host_begins_at_once_whatever_the_command_waits_for(rig):
    held, program = Held(rig), rig.open()
    embed = program.call("alloc_emb", 1)
    first, second = program.call("embed_secret", 1, embed), program.call("embed_secret", 2, embed)
    held.finish()
    assert len(held.commands) == 1, "the second one's part, before the first one has run on the device"
    held.finish()
    rig.loop.run()
    assert first.done and second.done
    assert program.hashes(embed) == [digest("secret", 20)]


@pytest.mark.parametrize(
    ("number", "kind", "words"), [(13, ResourceError, "13 is never found out"), (14, DeviceError, "RuntimeError")]
)
def test_a_failure_on_the_host_is_the_commands_and_of_what_depends_on_it(rig, number, kind, words):
    program = rig.open()
    (bad, good), page = program.call("alloc_emb", 2), program.call("alloc_kvpage", 1)
    failing, sound = program.call("embed_secret", number, [bad]), program.call("embed_secret", 2, [good])
    behind = program.call("forward", [], [bad], page, [bad])
    barrier = program.space.queues[program.q].synchronize()
    rig.loop.run()
    assert isinstance(failing.error, kind) and words in str(failing.error) and barrier.error is failing.error
    assert "skipped, because a embed_secret it depends on failed" in str(behind.error)
    assert sound.error is None and program.hashes([good]) == [digest("secret", 20)]
    assert all("embed_secret" not in dict(shape) or dict(shape)["embed_secret"] == 1 for shape in rig.device.shapes)


def test_one_that_fails_takes_its_turn_so_that_writes_stay_in_order(rig):
    held, program = Held(rig), rig.open()
    embed = program.call("alloc_emb", 1)
    program.call("embed_secret", 1, embed)  # slow: it stands before the other two
    failing = program.call("embed_secret", 13, embed)
    program.call("embed_txt", [7], [0], embed)
    first = held.commands.pop(0)
    first[1](None, None)  # an inferlet has one thread at a time; what the first one found out is put in later
    first[0].of.found = 5
    held.finish()
    rig.loop.run()
    assert isinstance(failing.error, ResourceError)
    assert program.hashes(embed) == [digest("token", 7)]


def test_an_inferlet_may_end_while_the_host_is_at_work_for_it_or_has_failed(rig):
    held, program = Held(rig), rig.open()
    slow = program.call("alloc_emb", 1)
    tickets = [program.call("embed_secret", number, slow) for number in (1, 13, 2)]
    held.finish(0)
    held.finish(0)  # 13: it has failed and waits for its turn
    assert not any(ticket.done for ticket in tickets)
    rig.layer.close(program.space)
    assert all(isinstance(ticket.error, TerminatedError) for ticket in tickets)
    while held.commands:
        held.finish()
    other = rig.open("other")
    embed = other.call("alloc_emb", 1)
    other.call("embed_secret", 3, embed)
    held.finish()
    assert other.hashes(embed) == [digest("secret", 30)]


def test_a_handler_without_the_part_on_the_host_is_named():
    class Half:
        def __init__(self, backend):
            pass

        def embed_secret(self, batch):
            pass

    registry = Registry([*load_registry(Selection()).traits.values(), SECRETS])
    with pytest.raises(PluginError, match="Half has no method 'stage_embed_secret'"):
        realize(registry, [*fake_handlers(), HandlerSpec("secrets", "fake", Half)], "fake", FakeBackend())


def test_a_command_of_the_host_is_not_staged():
    class Odd(Command):
        """Odd."""

        place = "host"
        staged = True

    with pytest.raises(DeclarationError, match="odd is staged and runs on the host"):
        Trait("odd", "1", "d", (Odd,))
