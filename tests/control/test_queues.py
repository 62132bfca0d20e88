"""Queues: synchronize, errors, order."""

import pytest

from pie_core import ArgumentError, DeviceError, HandleError, HandlerSpec, ResourceError
from pie_core.control.dispatch import Adaptive
from pie_core.control.space import MAX_QUEUES
from pie_core.testing import FakeBackend
from pie_core.testing.fake import FakeHandler, fake_handlers
from pie_core.testing.rig import Program, make_rig


class Fragile(FakeHandler):
    """Refuses token 66, as a device fault would."""

    def embed_txt(self, batch):
        if any(66 in command.tok for command in batch):
            raise RuntimeError("bit flip")
        super().embed_txt(batch)


def fragile_rig(**options):
    handlers = [spec for spec in fake_handlers() if not spec.trait.startswith("input_text")]
    return make_rig(handlers=[*handlers, HandlerSpec("input_text", "fake", Fragile)], **options)


def chain(program: Program, token: int) -> tuple[list[int], list[int]]:
    embeds = program.prompt([token])
    page = program.call("alloc_kvpage", 1)
    program.call("forward", [], embeds, page, embeds)
    return embeds, page


def test_synchronize_waits_for_what_is_enqueued_and_for_nothing_later():
    rig = make_rig()
    program = rig.open()
    program.prompt([1])
    ticket = program.space.queues[program.q].synchronize()
    assert not ticket.done
    rig.loop.run()
    assert ticket.done and ticket.error is None


def test_synchronize_of_an_empty_queue_is_done_at_once():
    program = make_rig().open()
    assert program.space.queues[program.q].synchronize().done


def test_a_device_error_reaches_the_culprit_alone_and_its_neighbours_get_their_results():
    rig = fragile_rig()
    bad, good = rig.open("bad"), rig.open("good")
    bad_ticket = bad.call("embed_txt", [66], [0], bad.call("alloc_emb", 1))
    good_ticket = good.call("embed_txt", [65], [0], good.call("alloc_emb", 1))
    rig.loop.run()
    assert good_ticket.error is None
    assert isinstance(bad_ticket.error, DeviceError) and "bit flip" in str(bad_ticket.error)


def test_what_depends_on_a_failed_command_in_the_same_wave_is_skipped():
    rig = fragile_rig()
    program = rig.open()
    embeds, _ = chain(program, 66)
    dist = program.call("get_next_dist", embeds)
    rig.loop.run()
    assert isinstance(dist.error, DeviceError) and "skipped, because a forward" in str(dist.error)
    assert rig.backend.slots == {}


def test_what_depends_on_a_failed_command_in_an_earlier_wave_is_refused_with_the_reason():
    rig = fragile_rig()
    program = rig.open()
    embeds, page = chain(program, 66)
    rig.loop.run()
    with pytest.raises(HandleError, match="left unwritten by a forward that failed"):
        program.call("get_next_dist", embeds)
    with pytest.raises(HandleError, match="kvpage was left unwritten"):
        fresh = program.prompt([1])
        program.call("forward", page, fresh, page, fresh)


def test_an_embed_that_is_written_anew_is_sound_again():
    rig = fragile_rig()
    program = rig.open()
    embeds = program.call("alloc_emb", 1)
    program.call("embed_txt", [66], [0], embeds)
    rig.loop.run()
    program.call("embed_txt", [65], [0], embeds)
    rig.loop.run()
    ticket = program.call("get_next_dist", embeds)
    rig.loop.run()
    assert ticket.error is None


def test_an_embed_that_is_being_written_anew_can_be_used_at_once():
    rig = fragile_rig()
    program = rig.open()
    embeds = program.call("alloc_emb", 1)
    program.call("embed_txt", [66], [0], embeds)
    rig.loop.run()
    program.call("embed_txt", [65], [0], embeds)
    ticket = program.call("get_next_dist", embeds)
    rig.loop.run()
    assert ticket.error is None


def test_what_reads_an_embed_that_was_freed_meanwhile_is_skipped_too_when_its_writer_fails():
    rig = fragile_rig()
    program = rig.open()
    page, embeds, other = program.call("alloc_kvpage", 1), program.prompt([64]), program.prompt([1])
    program.call("embed_txt", [66], [0], embeds)
    program.call("forward", [], other, page, other)
    later = program.call("forward", [], embeds, page, [])  # the second wave
    program.call("dealloc_emb", embeds)
    rig.loop.run()
    assert isinstance(later.error, DeviceError)


def test_a_failure_concerns_nobody_behind_a_later_write_whatever_wave_it_falls_into():
    rig = fragile_rig()
    program = rig.open()
    page, embeds, other = program.call("alloc_kvpage", 1), program.call("alloc_emb", 1), program.prompt([1])
    program.call("embed_txt", [66], [0], embeds)
    program.call("forward", [], other, page, other)
    skipped = program.call("forward", [], embeds, page, [])  # the second wave, and the new write behind it
    program.call("embed_txt", [65], [0], embeds)
    ticket = program.call("get_next_dist", embeds)
    rig.loop.run()
    assert isinstance(skipped.error, DeviceError) and ticket.error is None


def test_a_dependent_that_was_waiting_when_its_predecessor_failed_fails_too():
    rig = fragile_rig()
    program = rig.open()
    page = program.call("alloc_kvpage", 1)
    embeds = program.prompt([66])
    program.call("forward", [], embeds, page, embeds)
    later = program.call("forward", page, embeds, page, embeds)  # the next wave: one forward batch per wave
    rig.loop.run()
    assert isinstance(later.error, DeviceError) and "skipped" in str(later.error)


def test_a_batch_of_which_all_is_skipped_holds_up_nobody_behind_it():
    rig = fragile_rig(batch=1)
    bad, good = rig.open("bad"), rig.open("good")
    embeds, others = bad.call("alloc_emb", 1), bad.prompt([1])
    bad.call("embed_txt", [66], [0], embeds)
    bad.call("forward", [], others, bad.call("alloc_kvpage", 1), [])  # alone in the first wave
    skipped = bad.call("forward", [], embeds, bad.call("alloc_kvpage", 1), [])  # alone in the second
    ticket = good.call("forward", [], good.prompt([1]), good.call("alloc_kvpage", 1), [])
    rig.loop.run()
    assert isinstance(skipped.error, DeviceError) and ticket.done and ticket.error is None


def test_what_a_skipped_command_used_is_granted_to_who_waits_for_it():
    rig = fragile_rig(pages=1)
    program = rig.open()
    page, embeds, others = program.call("alloc_kvpage", 1), program.call("alloc_emb", 1), program.prompt([1])
    program.call("embed_txt", [66], [0], embeds)
    program.call("forward", [], others, page, [])
    program.call("forward", [], embeds, page, [])  # all of the second wave, and skipped
    program.call("dealloc_kvpage", page)
    ticket = program.call("forward", [], others, program.call("alloc_kvpage", 1), [])
    rig.loop.run()
    assert ticket.done and ticket.error is None


class Eager(Adaptive):
    """Launches within each call, without waiting for the device."""

    immediate = True

    def due(self, backlog, *, idle, quiet, now):
        return True


def test_what_depends_on_a_failed_command_of_a_wave_in_flight_is_skipped():
    rig = fragile_rig(dispatch=Eager())
    program = rig.open()
    page, embeds, fresh = program.call("alloc_kvpage", 1), program.prompt([66]), program.call("alloc_emb", 1)
    failing = program.call("forward", [], embeds, page, embeds)
    later = program.call("forward", page, embeds, page, embeds)
    fine = program.call("embed_txt", [65], [0], embeds)
    healed = program.call("forward", [], embeds, program.call("alloc_kvpage", 1), fresh)
    assert len(rig.device.shapes) == 5 and not failing.done, "all are in flight before anything is known of the first"
    rig.loop.run()
    for ticket in (failing, later):
        assert isinstance(ticket.error, DeviceError) and "skipped" in str(ticket.error)
    assert fine.error is None and healed.error is None
    assert set(rig.backend.slots) == {(1, 0)}


def test_what_was_written_anew_in_a_wave_behind_the_failure_can_be_read():
    rig = fragile_rig(dispatch=Eager())
    program = rig.open()
    embeds = program.prompt([66])
    program.call("embed_txt", [65], [0], embeds)
    while len(rig.layer.scheduler.in_flight) > 1:
        rig.loop.step()
    ticket = program.call("get_next_dist", embeds)
    rig.loop.run()
    assert ticket.error is None


class Held(Eager):
    """Launches nothing while it is shut."""

    def __init__(self):
        self.shut = False

    def due(self, backlog, *, idle, quiet, now):
        return not self.shut


def test_what_was_written_anew_behind_the_failure_can_be_read_though_the_next_write_is_in_line():
    policy = Held()
    rig = fragile_rig(dispatch=policy)
    program = rig.open()
    embeds = program.prompt([66])
    program.call("embed_txt", [65], [0], embeds)
    policy.shut = True
    ticket = program.call("get_next_dist", embeds)
    program.call("embed_txt", [64], [0], embeds)
    while len(rig.layer.scheduler.in_flight) > 1:
        rig.loop.step()
    policy.shut = False
    rig.loop.run()
    assert ticket.error is None


def test_synchronize_raises_the_first_error_once():
    rig = fragile_rig()
    program = rig.open()
    chain(program, 66)
    chain(program, 65)
    ticket = program.space.queues[program.q].synchronize()
    rig.loop.run()
    assert "bit flip" in str(ticket.error)
    assert program.space.queues[program.q].synchronize().error is None


def test_an_error_of_one_queue_is_not_reported_by_another():
    rig = fragile_rig()
    program = rig.open()
    other = program.space.create_queue()
    program.prompt([66])
    ticket = program.space.queues[other].synchronize()
    rig.loop.run()
    assert ticket.error is None


def test_a_foreign_queue_is_refused():
    rig = make_rig()
    one, two = rig.open("one"), rig.open("two")
    with pytest.raises(HandleError, match="not a queue of this inferlet"):
        one.call("alloc_emb", 1, q=two.q)
    with pytest.raises(ArgumentError, match="pass a queue first"):
        one.space.call("embed_txt", None, ([], [], []))


def test_queues_are_limited():
    program = make_rig().open()
    with pytest.raises(ResourceError, match="reuse some"):
        for _ in range(MAX_QUEUES):
            program.space.create_queue()


def test_an_unknown_call_names_the_near_ones():
    program = make_rig().open()
    with pytest.raises(ArgumentError, match="did you mean 'forward'"):
        program.call("foward")


def test_fragile_really_is_a_fake_backend_handler():
    backend = FakeBackend()
    with pytest.raises(RuntimeError):
        Fragile(backend).embed_txt([type("C", (), {"tok": [66], "emb": []})()])


def test_an_embed_with_many_readers_is_not_overwritten_before_the_slowest_of_them():
    rig = make_rig()
    program = rig.open()
    shared = program.prompt([1])
    slow, hidden = program.call("alloc_kvpage", 2), []
    for _ in range(8):  # one after the other, because they append to the same pages
        hidden.append(program.call("alloc_emb", 1))
        program.call("forward", [], shared, slow, hidden[-1])
    for _ in range(4):
        hidden.append(program.call("alloc_emb", 1))
        program.call("forward", [], shared, program.call("alloc_kvpage", 1), hidden[-1])
    program.call("embed_txt", [2], [0], shared)
    assert len({program.hashes(embeds)[0] for embeds in hidden}) == 1
    fresh = program.prompt([1])
    out = program.call("alloc_emb", 1)
    program.call("forward", [], fresh, program.call("alloc_kvpage", 1), out)
    assert program.hashes(out) == program.hashes(hidden[0])
