"""A dry pool: who waits, who is moved to host memory, who ends. FakeBackend's hashes show any page that went astray."""

from functools import partial

import pytest
from pie_policies.wait import Wait

from pie_core import Embed, HandleError, KvPage, TerminatedError
from pie_core.control.contention import FcfsKill
from pie_core.control.dispatch import Adaptive
from pie_core.control.swap_policy import Swap, SwapOptions
from pie_core.testing import FakeBackend
from pie_core.testing.rig import make_rig

from .generators import all_at_once, growing, run_all

COUNT, PAGES_EACH = 16, 8  # prompts of 5 tokens and 27 more, pages of 4
QUARTER = COUNT * PAGES_EACH // 4


def swap(**options):
    return Swap(SwapOptions(**options))


def jobs(script, **more):
    return [partial(script, prompt=list(range(first, first + 5)), steps=27, **more) for first in range(COUNT)]


def on_a_full_pool(scripts):
    running = run_all(make_rig(pages=COUNT * PAGES_EACH, embeds=1024), scripts)
    assert all(one.error is None for one in running)
    return [one.result for one in running]


def check_books(rig):
    """Nothing is left anywhere once all inferlets have ended."""
    assert rig.layer.spaces == {}
    for pool in rig.layer.pools.values():
        assert (pool.free, pool.draining, pool.leaving, pool.head) == (pool.capacity, 0, 0, None)
    assert rig.layer.memory.swapping.used_bytes == 0 and rig.layer.memory.swapping.transfers == []


@pytest.mark.parametrize("script", [growing, all_at_once])
def test_with_a_quarter_of_the_pages_swapping_finishes_all_with_unchanged_output(script):
    rig = make_rig(pages=QUARTER, embeds=1024, contention=swap())
    running = run_all(rig, jobs(script))
    assert [one.result for one in running] == on_a_full_pool(jobs(script))
    assert rig.evicted == []
    if script is growing:
        assert rig.layer.statistics.calls["swap_in"].weight > 0
    check_books(rig)


def test_with_a_quarter_of_the_pages_waiting_finishes_all_that_ask_once():
    rig = make_rig(pages=QUARTER, embeds=1024, contention=Wait())
    running = run_all(rig, jobs(all_at_once))
    assert [one.result for one in running] == on_a_full_pool(jobs(all_at_once))
    assert rig.evicted == []
    check_books(rig)


@pytest.mark.parametrize("policy", [Wait, FcfsKill])
def test_where_none_could_go_on_the_newest_end_and_the_others_are_unharmed(policy):
    rig = make_rig(pages=QUARTER, embeds=1024, contention=policy())
    running = run_all(rig, jobs(growing))
    done = [one.result for one in running if one.error is None]
    assert len(done) >= COUNT // 4 and done == on_a_full_pool(jobs(growing))[: len(done)]
    assert sorted(rig.evicted) == sorted(one.name for one in running[len(done) :])
    assert all(isinstance(one.error, TerminatedError) for one in running[len(done) :])
    check_books(rig)


def test_who_ends_for_a_cycle_is_told_that_it_was_one_and_what_would_have_avoided_it():
    rig = make_rig(pages=2, contention=Wait())
    old, new = rig.open("old"), rig.open("new")
    for program in (old, new):
        (page,) = program.call("alloc_kvpage", 1)
        program.call("forward", [], program.prompt([1, 2, 3, 4]), [page], [])
    rig.loop.advance(1.0)
    for program in (old, new):
        program.call("forward", [], program.prompt([5], first=4), program.call("alloc_kvpage", 1), [])
    rig.loop.advance(0.2)
    assert rig.evicted == []  # as long as something may have moved, nobody ends
    rig.loop.advance(1.0)
    assert rig.evicted == ["new"]
    with pytest.raises(TerminatedError, match=r"'wait' to break a cycle: all 2 inferlets .* in one call .*larger pool"):
        new.call("alloc_emb", 1)
    assert not old.space.outstanding()


def test_no_cycle_is_seen_while_a_holder_waits_for_somebody_outside():
    rig = make_rig(pages=2, contention=Wait())
    idle, waiting = rig.open("idle"), rig.open("waiting")
    pages = idle.call("alloc_kvpage", 2)
    ticket = waiting.call("forward", [], waiting.prompt([1]), waiting.call("alloc_kvpage", 1), [])
    rig.loop.advance(100.0)
    assert rig.evicted == [] and not ticket.done
    idle.call("dealloc_kvpage", pages[:1])
    rig.loop.run()
    assert ticket.done


def test_an_allocation_that_waits_is_served_when_an_export_expires():
    rig = make_rig(pages=1, contention=Wait())
    author, reader = rig.open("author"), rig.open("reader")
    author.call("export_kvpage", author.call("alloc_kvpage", 1), "prefix", 5.0)
    rig.layer.close(author.space)
    ticket = reader.call("forward", [], reader.prompt([1]), reader.call("alloc_kvpage", 1), [])
    rig.loop.advance(4.0)
    assert not ticket.done
    rig.loop.advance(2.0)
    assert ticket.done and rig.evicted == []


def test_an_inferlet_that_sleeps_lends_its_pages_and_goes_on_as_if_it_had_not():
    scripts = [
        partial(growing, prompt=[1, 2, 3], steps=20, sleep_at=10),
        partial(all_at_once, prompt=[4, 5, 6], steps=20),
    ]
    rig = make_rig(pages=6, contention=swap())
    running = run_all(rig, scripts, seconds=0.9)
    assert running[0].result is None and rig.layer.spaces["p0"].bound(KvPage) == 0
    assert running[1].result is not None, "the sleeper's pages were not lent"
    rig.loop.advance(60.0)
    assert [one.result for one in running] == [one.result for one in run_all(make_rig(), scripts)]
    check_books(rig)


class Watching(Swap):
    """Notes whom it chose, and what they had run by then."""

    def __init__(self, rig_of):
        super().__init__(SwapOptions())
        self.chosen = []
        self._rig_of = rig_of

    def swap_out(self, kind, requester, stalled):
        chosen = super().swap_out(kind, requester, stalled)
        if chosen is not None:
            self.chosen.append((chosen.owner, requester.owner, self._rig_of().layer.statistics.waves))
        return chosen


def test_the_oldest_are_never_moved_and_who_was_brought_back_runs_before_it_goes_again():
    rig = None
    policy = Watching(lambda: rig)
    rig = make_rig(pages=QUARTER, embeds=1024, contention=policy)
    run_all(rig, jobs(growing))
    assert policy.chosen and all(int(out[1:]) > int(asks[1:]) for out, asks, _ in policy.chosen)
    moves = [out for out, _, _ in policy.chosen]
    assert max(map(moves.count, moves)) <= 3  # of the 27 steps that each of them takes


def test_two_that_hold_what_the_other_wants_both_finish():
    rig = make_rig(pages=2, embeds=4, contention=swap())
    one, other = rig.open("one"), rig.open("other")
    pages, embeds = one.call("alloc_kvpage", 2), other.prompt([1, 2, 3, 4])
    first = one.call("embed_txt", [1], [0], one.call("alloc_emb", 1))
    second = other.call("forward", [], embeds, other.call("alloc_kvpage", 1), [])
    rig.loop.advance(1.0)
    assert first.done and second.done and rig.evicted == []
    last = one.prompt([7])
    one.call("forward", [], last, pages, last)
    rig.loop.advance(1.0)
    rig.layer.close(other.space)
    rig.loop.advance(1.0)
    fresh = make_rig().open()
    same = fresh.prompt([7])
    fresh.call("forward", [], same, fresh.call("alloc_kvpage", 2), same)
    assert one.hashes(last) == fresh.hashes(same)


def test_when_host_memory_is_full_allocations_wait():
    rig = make_rig(pages=QUARTER, embeds=1024, contention=swap(host_bytes=1))
    running = run_all(rig, jobs(all_at_once))
    assert [one.result for one in running] == on_a_full_pool(jobs(all_at_once))
    assert "swap_out" not in rig.layer.statistics.calls
    rig = make_rig(pages=QUARTER, embeds=1024, contention=swap(host_bytes=64 * 4))
    running = run_all(rig, jobs(growing))
    done = [one for one in running if one.error is None]
    assert len(done) >= COUNT // 4
    assert all("break a cycle" in str(one.error) for one in running if one.error is not None)
    check_books(rig)


class Unmoving(FakeBackend):
    """Fails to copy out, or in, as a lack of memory would make it."""

    def __init__(self, fails, **options):
        super().__init__(**options)
        self.fails = fails

    @property
    def swapper(self):
        swapper = super().swapper
        if self.fails:

            def fail(*_):
                raise MemoryError("no host memory")

            setattr(swapper, self.fails, fail)
        return swapper


def test_a_copy_to_the_host_that_fails_loses_nothing_and_is_not_tried_again():
    rig = make_rig(backend=Unmoving("swap_out", pages=QUARTER, embeds=1024, page_size=4), contention=swap())
    running = run_all(rig, jobs(growing))
    done = [one.result for one in running if one.error is None]
    assert len(done) >= COUNT // 4 and done == on_a_full_pool(jobs(growing))[: len(done)]
    assert "no host memory" in str(running[-1].error) and "break a cycle" in str(running[-1].error)
    assert rig.layer.statistics.calls["swap_out"].commands == 1
    check_books(rig)


def test_a_copy_that_cannot_be_brought_back_costs_its_inferlet_alone():
    backend = Unmoving("swap_in", pages=4, embeds=64, page_size=4)
    rig = make_rig(backend=backend, contention=swap())
    idle, other = rig.open("idle"), rig.open("other")
    pages, embeds = idle.call("alloc_kvpage", 2), idle.prompt([1, 2, 3])
    idle.call("forward", [], embeds, pages, embeds)
    rig.loop.advance(1.0)
    wanted = other.call("alloc_kvpage", 3)
    rig.loop.advance(1.0)
    assert other.space.bound(KvPage) == 3
    other.call("dealloc_kvpage", wanted[:2])
    ticket = idle.call("forward", pages, embeds[:1], pages, embeds[:1])
    fine = other.call("forward", [], other.prompt([1]), wanted[2:], [])
    rig.loop.advance(1.0)
    assert ticket.error is not None and fine.error is None
    with pytest.raises(HandleError, match="left unwritten by a swap_in that failed"):
        idle.call("forward", pages[1:], idle.prompt([1]), idle.call("alloc_kvpage", 1), [])
    rig.layer.close(idle.space)
    rig.layer.close(other.space)
    rig.loop.advance(1.0)
    check_books(rig)


class Held(Adaptive):
    """Launches each command at once, but none while it is shut."""

    shut = False

    def due(self, backlog, *, idle, quiet, now):
        return not self.shut


def test_what_is_written_anew_behind_a_copy_that_cannot_be_brought_back_can_be_read():
    """In a wave of its own, which is still on the device when the copy has failed."""
    policy = Held()
    backend = Unmoving("swap_in", pages=4, embeds=4, page_size=4)
    rig = make_rig(backend=backend, contention=swap(), dispatch=policy)
    program = rig.open()
    embeds = program.prompt([1])
    rig.loop.run()
    rig.layer.memory.swapping.swap_out(program.space, Embed)
    rig.layer.scheduler.look()
    rig.loop.run()
    policy.shut = True
    program.call("embed_txt", [2], [0], embeds)
    rig.loop.step()
    policy.shut = False
    rig.layer.scheduler.consider()
    assert rig.device.shapes[-2:] == [[("swap_in", 1)], [("embed_txt", 1)]]
    rig.loop.step()
    assert len(rig.layer.scheduler.in_flight) == 1
    ticket = program.call("get_next_dist", embeds)
    rig.layer.scheduler.consider()
    rig.loop.run()
    assert ticket.done and ticket.error is None


def test_what_others_hold_too_stays_and_what_is_shared_later_comes_back():
    rig = make_rig(pages=6, contention=swap())
    author, other, reader = rig.open("author"), rig.open("other"), rig.open("reader")
    embeds, pages = author.prompt([1, 2, 3, 4, 5, 6, 7, 8]), author.call("alloc_kvpage", 4)
    author.call("forward", [], embeds, pages, embeds[-1:])
    rig.loop.run()
    author.call("export_kvpage", pages[:1], "first")
    rig.loop.advance(1.0)
    taken = other.call("alloc_kvpage", 3)
    rig.loop.advance(1.0)
    bound = [page.index >= 0 for page in author.space.resolve(KvPage, pages, "test")]
    assert bound == [True, False, False, False]
    author.call("export_kvpage", pages[1:2], "second")
    imported = reader.call("import_kvpage", "first") + reader.call("import_kvpage", "second")
    mine = reader.prompt([9], first=8)
    ticket = reader.call("forward", imported, mine, reader.call("alloc_kvpage", 1), mine)
    other.call("dealloc_kvpage", taken)
    rig.loop.advance(1.0)
    assert ticket.done and ticket.error is None
    fresh = make_rig().open()
    whole = fresh.prompt([1, 2, 3, 4, 5, 6, 7, 8, 9])
    fresh.call("forward", [], whole, fresh.call("alloc_kvpage", 3), whole[-1:])
    assert reader.hashes(mine) == fresh.hashes(whole[-1:])


@pytest.mark.parametrize("ends", [False, True])
def test_what_was_exported_as_it_left_comes_back_though_its_exporter_has_let_go_of_it(ends):
    """When the copy is complete, the export is its only holder; nobody will ask for it in the exporter's name."""
    rig, _, _ = never_rig(pages=2)
    author, reader = rig.open("author"), rig.open("reader")
    page = hold_one(author)
    rig.layer.memory.swapping.swap_out(author.space, KvPage)
    author.call("export_kvpage", page, "prefix")
    rig.layer.close(author.space) if ends else author.call("dealloc_kvpage", page)
    rig.layer.scheduler.look()
    rig.loop.run()
    imported, mine = reader.call("import_kvpage", "prefix"), reader.prompt([5], first=4)
    ticket = reader.call("forward", imported, mine, reader.call("alloc_kvpage", 1), mine)
    rig.loop.advance(1.0)
    assert ticket.done and ticket.error is None
    fresh = make_rig().open()
    whole = fresh.prompt([1, 2, 3, 4, 5])
    fresh.call("forward", [], whole, fresh.call("alloc_kvpage", 2), whole[-1:])
    assert reader.hashes(mine) == fresh.hashes(whole[-1:])


def test_what_an_ended_inferlet_had_exported_does_not_come_back_once_nobody_holds_it():
    rig, _, _ = never_rig(pages=2)
    hoarder, author = rig.open("hoarder"), rig.open("author")
    page = hold_one(author)
    rig.layer.memory.swapping.swap_out(author.space, KvPage)
    author.call("export_kvpage", page, "prefix")
    rig.layer.close(author.space)
    taken = hoarder.call("alloc_kvpage", 2)
    rig.loop.advance(1.0)
    assert hoarder.space.bound(KvPage) == 2
    hoarder.call("release_kvpage", "prefix")
    assert not rig.layer.memory.waited_for and rig.layer.memory.swapping.used_bytes == 0
    hoarder.call("dealloc_kvpage", taken)
    rig.layer.close(hoarder.space)
    check_books(rig)


def test_pages_freed_while_they_are_in_host_memory_are_not_brought_back():
    rig = make_rig(pages=4, contention=swap())
    idle, other = rig.open("idle"), rig.open("other")
    pages, embeds = idle.call("alloc_kvpage", 3), idle.prompt([1, 2, 3, 4, 5, 6])
    idle.call("forward", [], embeds, pages, embeds)
    rig.loop.advance(1.0)
    wanted = other.call("alloc_kvpage", 4)
    rig.loop.advance(1.0)
    idle.call("dealloc_kvpage", pages[:1])
    other.call("dealloc_kvpage", wanted[:2])
    ticket = idle.call("forward", pages[1:], embeds[:1], pages[1:], embeds[:1])
    rig.loop.advance(1.0)
    assert ticket.done and ticket.error is None
    idle.call("dealloc_kvpage", pages[1:])
    assert rig.free()[0] == 2 and rig.layer.memory.swapping.used_bytes == 0


def test_without_a_swapper_nothing_is_moved():
    rig = make_rig(backend=FakeBackend(pages=2, page_size=4, swaps=False), contention=swap())
    holder, other = rig.open("holder"), rig.open("other")
    holder.call("alloc_kvpage", 2)
    other.call("alloc_kvpage", 1)
    rig.loop.advance(10.0)
    assert holder.space.bound(KvPage) == 2 and other.space.bound(KvPage) == 0 and holder.space.holds(Embed) == 0


class Never(Swap):
    """Swaps only what a test does."""

    def swap_out(self, kind, requester, stalled):
        return None


def never_rig(**options):
    rig = make_rig(contention=Never(SwapOptions()), **options)
    swapping = rig.layer.memory.swapping

    def stalled(requester, standstill=False):
        spaces = rig.layer.spaces.values()
        return [one.space.owner for one in swapping.stalled(KvPage, requester.space, spaces, standstill)]

    def move(program):
        swapping.swap_out(program.space, KvPage)
        rig.layer.scheduler.look()
        rig.loop.run()

    return rig, stalled, move


def hold_one(program):
    """A full page."""
    page, embeds = program.call("alloc_kvpage", 1), program.prompt([1, 2, 3, 4])
    program.call("forward", [], embeds, page, [])
    program.rig.loop.run()
    return page


def ask(program, page, count):
    """Run a token that needs `count` pages more."""
    fresh = program.call("alloc_kvpage", count)
    return program.call("forward", page, program.prompt([5], first=4), fresh, [])


def test_who_waits_for_room_lends_to_older_ones_only_unless_nothing_else_moves():
    rig, stalled, _ = never_rig(pages=3)
    programs = [rig.open(name) for name in "abc"]
    pages = [hold_one(program) for program in programs]
    for program, page in zip(programs, pages, strict=True):
        ask(program, page, 1)
    rig.loop.run()
    assert [stalled(program) for program in programs] == [["b", "c"], ["c"], []]
    assert stalled(programs[1], standstill=True) == ["a", "c"]


def test_who_was_brought_back_and_has_not_run_since_is_not_moved_unless_nothing_else_moves():
    rig, stalled, move = never_rig(pages=4, embeds=2)
    old, hoarder, new = rig.open("old"), rig.open("hoarder"), rig.open("new")
    page, embed = new.call("alloc_kvpage", 1), new.prompt([1])
    new.call("forward", [], embed, page, embed)
    rig.loop.run()
    hoarder.call("alloc_emb", 1)
    ticket = new.call("forward", page, embed, page, new.call("alloc_emb", 1))
    rig.loop.run()
    assert stalled(old) == ["new"]
    move(new)
    assert new.space.bound(KvPage) == 1 and not ticket.done, "it came back at once, for there is room"
    assert stalled(old) == [] and stalled(old, standstill=True) == ["new"]
    rig.layer.close(hoarder.space)
    rig.loop.run()
    assert ticket.done and stalled(old) == ["new"]


def test_who_returns_gets_what_it_holds_and_what_it_asks_for_together():
    rig, _, move = never_rig(pages=4)
    hoarder, other = rig.open("hoarder"), rig.open("other")
    pages = hoarder.call("alloc_kvpage", 3)
    ticket = ask(other, hold_one(other), 2)
    rig.loop.run()
    move(other)
    assert rig.free()[0] == 1 and other.space.bound(KvPage) == 0, "one page alone would do it no good"
    hoarder.call("dealloc_kvpage", pages[:2])
    rig.loop.run()
    assert ticket.done and other.space.bound(KvPage) == 3


def test_who_returns_does_not_wait_for_what_it_asks_for_besides_where_nothing_else_moves():
    """Else what it asks for may never come: it may be its own commands that keep the room for it."""
    rig, _, move = never_rig(pages=4)
    hoarder, other = rig.open("hoarder"), rig.open("other")
    hoarder.call("alloc_kvpage", 3)
    page, embeds = other.call("alloc_kvpage", 1), other.prompt([1, 2])
    other.call("forward", [], embeds, page, [])
    rig.loop.run()
    move(other)
    fresh = other.call("alloc_kvpage", 2)
    ticket = other.call("forward", [], other.prompt([6], first=6), page, [])
    more = other.call("forward", page, other.prompt([5], first=7), fresh, [])
    rig.loop.advance(0.2)
    assert not ticket.done
    rig.loop.advance(1.0)
    assert ticket.done and not more.done and rig.evicted == []


def test_a_cycle_is_seen_though_all_that_is_waited_for_was_freed_by_those_who_wait():
    """Each has freed its page, and its own command, which waits for another page, keeps it from the other."""
    rig = make_rig(pages=2, contention=Wait())
    tickets = []
    programs = [rig.open("old"), rig.open("new")]
    pages = [hold_one(program) for program in programs]
    for program, page in zip(programs, pages, strict=True):
        tickets.append(ask(program, page, 1))
        program.call("dealloc_kvpage", page)
    rig.loop.advance(2.0)
    assert rig.evicted == ["new"] and tickets[0].error is None and tickets[0].done


def test_what_an_ended_inferlet_has_exported_keeps_its_place_in_line():
    rig = make_rig(pages=2, contention=Wait())
    hoarder, author, late = rig.open("hoarder"), rig.open("author"), rig.open("late")
    held = hoarder.call("alloc_kvpage", 2)
    shared = author.call("alloc_kvpage", 1)
    author.call("export_kvpage", shared, "prefix")
    late.call("alloc_kvpage", 2)
    (page,) = author.space.resolve(KvPage, shared, "test")
    rig.layer.close(author.space)
    hoarder.call("dealloc_kvpage", held[:1])
    assert page.index >= 0 and late.space.bound(KvPage) == 0


def test_a_long_wait_for_room_does_not_make_waves_leave_before_all_who_could_run_have():
    """Looks at who waits are no looks at a busy host."""
    rig = make_rig(pages=1, contention=Wait())
    hoarder, waiting = rig.open("hoarder"), rig.open("waiting")
    hoarder.call("alloc_kvpage", 1)
    waiting.call("alloc_kvpage", 1)
    rig.loop.advance(5.0)
    hoarder.prompt([1])
    rig.loop.step()
    waiting.prompt([2])
    rig.loop.run()
    assert rig.device.shapes == [[("embed_txt", 2)]]


class Patient(Swap):
    """Chooses ten times; more would be for ever."""

    def __init__(self):
        super().__init__(SwapOptions())
        self.times = 0

    def swap_out(self, kind, requester, stalled):
        self.times += 1
        assert self.times <= 10
        return super().swap_out(kind, requester, stalled)


def test_who_comes_back_to_wait_again_is_not_moved_for_ever():
    """Old waits for pages that an export keeps; what young wants of it comes back at once, as old is served first."""
    rig = make_rig(pages=2, embeds=4, contention=Patient())
    author, old, young = rig.open("author"), rig.open("old"), rig.open("young")
    author.call("export_kvpage", author.call("alloc_kvpage", 1), "prefix")
    rig.layer.close(author.space)
    stuck = old.call("forward", [], old.prompt([1, 2, 3]), old.call("alloc_kvpage", 2), [])
    rig.loop.run()
    ticket = young.call("embed_txt", [1, 2], [0, 1], young.call("alloc_emb", 2))
    rig.loop.advance(20.0)
    assert stuck.error is not None and ticket.done and ticket.error is None and rig.evicted == ["old"]


def test_what_an_ended_inferlet_left_to_run_does_not_keep_its_pages_for_ever():
    """An export wants what its command writes; that waits behind who waits for the page that it reads."""
    rig = make_rig(pages=2, contention=Wait())
    author, hoarder, big, reader = (rig.open(name) for name in ("author", "hoarder", "big", "reader"))
    page = hold_one(author)
    hoarder.call("alloc_kvpage", 1)
    ticket = big.call("forward", [], big.prompt([1, 2, 3, 4, 5]), big.call("alloc_kvpage", 2), [])
    fresh = author.call("alloc_kvpage", 1)
    author.call("forward", page, author.prompt([5], first=4), fresh, [])
    author.call("export_kvpage", fresh, "prefix")
    rig.layer.close(author.space)
    rig.layer.close(hoarder.space)
    rig.loop.advance(0.2)
    assert not ticket.done
    rig.loop.advance(1.0)
    assert ticket.done and ticket.error is None and rig.evicted == []
    with pytest.raises(HandleError, match="left unwritten"):
        imported = reader.call("import_kvpage", "prefix")
        reader.call("forward", imported, reader.prompt([1], first=9), reader.call("alloc_kvpage", 1), [])


def test_what_an_ended_inferlet_left_to_run_is_dropped_once_nobody_wants_what_it_writes():
    """Its export is withdrawn while it waits for room; the page that it reads comes back without it."""
    rig = make_rig(pages=2, contention=Wait())
    hoarder, author, reader = (rig.open(name) for name in ("hoarder", "author", "reader"))
    page = hold_one(author)
    hoarder.call("alloc_kvpage", 1)
    fresh = author.call("alloc_kvpage", 1)
    ticket = author.call("forward", page, author.prompt([5], first=4), fresh, [])
    author.call("export_kvpage", fresh, "prefix")
    rig.layer.close(author.space)
    rig.loop.run()
    assert not ticket.done and rig.free()[0] == 0
    reader.call("release_kvpage", "prefix")
    assert isinstance(ticket.error, TerminatedError)
    assert rig.free()[0] == 1 and rig.layer.pools[KvPage].draining == 0 and not rig.layer.memory.waited_for


def test_what_an_ended_inferlet_left_to_run_still_runs_for_a_command_that_waits_for_it():
    """The reader has freed what it imported, and the export is withdrawn: the reader's command is all that wants it."""
    rig = make_rig(pages=3)
    author, reader = rig.open("author"), rig.open("reader")
    page = author.call("alloc_kvpage", 1)
    written = author.call("forward", [], author.prompt([1, 2]), page, [])
    author.call("export_kvpage", page, "prefix")
    imported, mine = reader.call("import_kvpage", "prefix"), reader.prompt([3], first=2)
    ticket = reader.call("forward", imported, mine, reader.call("alloc_kvpage", 1), [])
    reader.call("dealloc_kvpage", imported)
    reader.call("release_kvpage", "prefix")
    rig.layer.close(author.space)
    rig.loop.run()
    assert written.error is None and ticket.done and ticket.error is None


class Offered(Never):
    """Notes which older inferlets were offered as they waited, although a command was ready."""

    def __init__(self, rig_of):
        super().__init__(SwapOptions())
        self.early = []
        self._rig_of = rig_of

    def swap_out(self, kind, requester, stalled):
        spaces = self._rig_of().layer.spaces.values()
        if any(not submission.blockers for space in spaces for submission in space.outstanding()):
            waiting = [one.space for one in stalled if one.idle_s is None]
            self.early += [space.owner for space in waiting if space.arrival < requester.arrival]
        return super().swap_out(kind, requester, stalled)


def test_the_older_lend_nothing_while_somebody_can_go_on_with_what_an_export_has_just_left():
    """The first gets the page as the export expires; old and young wait for pages and Embeds all the same."""
    rig = None
    policy = Offered(lambda: rig)
    rig = make_rig(pages=2, embeds=5, contention=policy)
    author, idle, first, old, young = (rig.open(name) for name in ("author", "idle", "first", "old", "young"))
    author.call("export_kvpage", author.call("alloc_kvpage", 1), "prefix", 5.0)
    rig.layer.close(author.space)
    idle.call("alloc_emb", 1)
    tickets = [
        program.call("forward", [], program.prompt(tokens), program.call("alloc_kvpage", 2), [])
        for program, tokens in ((first, [1]), (old, [1, 2, 3]))
    ]
    young.prompt([1])
    rig.loop.advance(6.0)
    assert tickets[0].done and not tickets[1].done and policy.early == []
