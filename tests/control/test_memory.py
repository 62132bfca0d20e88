"""Pages and Embeds: who holds them, when they come back, who gives way."""

import time

import pytest

from pie_core import ArgumentError, Embed, HandleError, KvPage, ResourceError, TerminatedError
from pie_core.control.exports import ExportLimits
from pie_core.control.pool import Pool
from pie_core.errors import nearest
from pie_core.testing.rig import make_rig


def test_freed_pages_come_back_only_when_the_commands_that_use_them_are_done():
    rig = make_rig(pages=3)
    program = rig.open()
    embeds, pages = program.prompt([1, 2, 3, 4, 5]), program.call("alloc_kvpage", 3)
    program.call("forward", [], embeds, pages, embeds)
    program.call("dealloc_kvpage", pages)
    assert rig.free()[0] == 1  # the page that the forward has no tokens for
    rig.loop.run()
    assert rig.free()[0] == 3


def test_what_is_allocated_together_lies_in_rising_order_as_far_down_as_there_is_room():
    pool = Pool(KvPage, 8)
    first, second = [KvPage(4) for _ in range(5)], [KvPage(4) for _ in range(4)]
    assert pool.take(first) and [page.index for page in first] == [0, 1, 2, 3, 4]
    for place in (3, 0, 4):
        pool.give(first[place])
    assert pool.take(second) and [page.index for page in second] == [0, 3, 4, 5]
    assert not pool.take([KvPage(4) for _ in range(3)]) and pool.free == 2 and set(pool.free_indices) == {6, 7}


def test_an_allocation_waits_for_pages_that_come_back_by_themselves_and_nobody_is_killed():
    rig = make_rig(pages=2)
    program, other = rig.open("a"), rig.open("b")
    embeds, pages = program.prompt([1]), program.call("alloc_kvpage", 2)
    program.call("forward", [], embeds, pages, embeds)
    program.call("dealloc_kvpage", pages)
    late, fresh = other.prompt([2]), other.call("alloc_kvpage", 2)
    ticket = other.call("forward", [], late, fresh, late)
    assert not ticket.done
    rig.loop.run()
    assert ticket.done and ticket.error is None and rig.evicted == []


def test_when_the_pool_is_dry_the_newest_inferlet_gives_way_and_the_oldest_goes_on():
    rig = make_rig(pages=4)
    old, middle, new = rig.open("old"), rig.open("middle"), rig.open("new")
    for program in (old, middle, new):
        program.call("alloc_kvpage", 1)
    pages = old.call("alloc_kvpage", 2)
    assert rig.evicted == ["new"]
    embeds = old.prompt([1])
    ticket = old.call("forward", [], embeds, pages, embeds)
    rig.loop.run()
    assert ticket.error is None
    with pytest.raises(TerminatedError, match=r"contention policy 'fcfs-kill'.*larger pool"):
        new.call("alloc_emb", 1)


def test_the_newest_that_asks_for_too_much_is_the_one_that_ends():
    rig = make_rig(pages=4)
    old, new = rig.open("old"), rig.open("new")
    old.call("alloc_kvpage", 3)
    with pytest.raises(TerminatedError, match="it came last"):
        new.call("alloc_kvpage", 2)
    assert rig.evicted == ["new"] and rig.free()[0] == 1


def test_more_than_the_pool_or_the_quota_holds_is_an_error_at_once_and_kills_nobody():
    rig = make_rig(pages=4)
    rig.open("old").call("alloc_kvpage", 4)
    with pytest.raises(ResourceError, match="5 kvpages asked for"):
        rig.open("greedy").call("alloc_kvpage", 5)
    with pytest.raises(ResourceError, match="over the 2"):
        rig.open("bounded", quota={KvPage: 2}).call("alloc_kvpage", 3)
    assert rig.evicted == []


@pytest.mark.parametrize("misuse", ["twice", "foreign", "unknown", "listed twice", "text"])
def test_a_wrong_free_frees_nothing(misuse):
    rig = make_rig(pages=4)
    program, other = rig.open("a"), rig.open("b")
    pages = program.call("alloc_kvpage", 2)
    if misuse == "twice":
        program.call("dealloc_kvpage", pages[:1])
        wrong = pages
    else:
        wrong = {
            "foreign": [pages[0], *other.call("alloc_kvpage", 1)],
            "unknown": [pages[0], 12345],
            "listed twice": [pages[0], pages[0]],
            "text": [pages[0], "x"],
        }[misuse]
    before = rig.free()
    with pytest.raises(HandleError):
        program.call("dealloc_kvpage", wrong)
    assert rig.free() == before


def test_closing_frees_everything_while_commands_are_waiting_and_in_flight():
    rig = make_rig(pages=8, embeds=8)
    program = rig.open()
    pages = program.call("alloc_kvpage", 8)
    embeds = program.prompt([1, 2])
    for _ in range(3):
        program.call("forward", pages, embeds, pages, embeds)
    while not rig.device.shapes:
        rig.loop.step()
    program.call("alloc_emb", 1)
    rig.layer.close(program.space)
    rig.layer.close(program.space)
    rig.loop.run()
    assert rig.free() == (8, 8)
    assert all(pool.draining == 0 for pool in rig.layer.pools.values())


def test_closing_an_inferlet_whose_allocation_waits_leaves_nothing_behind():
    rig = make_rig(pages=2)
    holder, waiter = rig.open("holder"), rig.open("waiter")
    pages = holder.call("alloc_kvpage", 2)
    embeds = holder.prompt([1])
    holder.call("forward", [], embeds, pages, embeds)
    holder.call("dealloc_kvpage", pages)
    waiting = waiter.call("alloc_kvpage", 2)
    late = waiter.prompt([1])
    ticket = waiter.call("forward", [], late, waiting, late)
    rig.layer.close(waiter.space)
    rig.layer.close(holder.space)
    rig.loop.run()
    assert isinstance(ticket.error, TerminatedError)
    assert rig.free() == (2, 256)
    assert all(pool.draining == 0 and pool.wanted == 0 for pool in rig.layer.pools.values())


def test_freeing_pages_whose_allocation_still_waits_is_fine():
    rig = make_rig(pages=2)
    holder, waiter = rig.open("holder"), rig.open("waiter")
    pages, embeds = holder.call("alloc_kvpage", 2), holder.prompt([1])
    holder.call("forward", [], embeds, pages, embeds)
    holder.call("dealloc_kvpage", pages)
    waiter.call("dealloc_kvpage", waiter.call("alloc_kvpage", 2))
    rig.loop.run()
    assert rig.free()[0] == 2 and rig.layer.pools[KvPage].draining == 0


def test_exported_pages_outlive_their_exporter_and_are_read_only_for_all():
    rig = make_rig()
    author, reader = rig.open("author"), rig.open("reader")
    embeds, pages = author.prompt([1, 2, 3, 4]), author.call("alloc_kvpage", 1)
    author.call("forward", [], embeds, pages, embeds[-1:])
    author.space.export(pages, "prefix", None)
    with pytest.raises(HandleError, match="copy_kvpage it first"):
        author.call("forward", [], embeds[:1], pages, [])
    rig.loop.run()
    rig.layer.close(author.space)
    imported = reader.space.import_("prefix")
    mine = reader.prompt([5], first=4)
    reader.call("forward", imported, mine, reader.call("alloc_kvpage", 1), mine)
    fresh = rig.open("fresh")
    whole = fresh.prompt([1, 2, 3, 4, 5])
    fresh.call("forward", [], whole, fresh.call("alloc_kvpage", 2), whole[-1:])
    assert reader.hashes(mine) == fresh.hashes(whole[-1:])
    with pytest.raises(HandleError, match="did you mean 'prefix'"):
        reader.space.import_("prefx")
    with pytest.raises(ArgumentError, match="release_kvpage it first"):
        reader.space.export(imported, "prefix", None)
    reader.space.release("prefix")
    rig.layer.close(reader.space)
    rig.layer.close(fresh.space)
    rig.loop.run()
    assert rig.free() == (64, 256)


def test_an_export_is_invisible_to_other_users_and_expires():
    rig = make_rig()
    author = rig.open("author", user="ann")
    author.space.export(author.call("alloc_kvpage", 1), "prefix", ttl=10.0)
    with pytest.raises(HandleError):
        rig.open("stranger", user="bob").space.import_("prefix")
    rig.layer.close(author.space)
    rig.loop.time = 11.0
    assert rig.open("later", user="ann").space.exports() == []
    assert rig.free()[0] == 64


def test_embeds_have_a_pool_of_their_own():
    rig = make_rig(embeds=4)
    program = rig.open()
    program.call("alloc_emb", 4)
    with pytest.raises(ResourceError, match="embeds asked for"):
        program.call("alloc_emb", 1)
    assert program.space.holds(Embed) == 4


def test_what_a_user_publishes_is_bounded_with_or_without_pages_and_whoever_publishes_it():
    rig = make_rig()
    limits = ExportLimits(names=3, pages=4)
    author, other, stranger = (
        rig.layer.open(name, user, None, limits) for name, user in (("a", "ann"), ("b", "ann"), ("c", "bob"))
    )
    pages = author.allocate(KvPage, 3)
    author.export(pages, "three", None)
    with pytest.raises(ResourceError, match=r"'ann' has published 1 names of 3 pages.* 3 of 4; release_kvpage some"):
        author.export(pages[:2], "two", None)
    author.export(pages[:1], "one", None)
    other.export([], "none", 10.0)
    with pytest.raises(ResourceError, match="3 names of 4 pages"):
        other.export([], "none either", None)
    assert [export.name for export, _ in author.exports()] == ["three", "one", "none"]
    stranger.export(stranger.allocate(KvPage, 4), "mine", None)
    author.release("one")
    other.export([], "none either", None)
    rig.loop.time = 11.0  # "none" is over
    author.export(pages[:1], "one", None)
    for name in ("three", "one", "none either"):
        author.release(name)
    stranger.release("mine")
    for space in (author, other, stranger):
        rig.layer.close(space)
    rig.loop.run()
    assert rig.free() == (64, 256)
    assert rig.layer.memory._exports._by_user == rig.layer.memory._exports._pages == {}


def test_names_of_strangers_are_not_compared_at_length():
    began = time.thread_time()
    known = [f"{number}" * 60 for number in range(1024)]
    told = nearest("x" * 10**6, known)
    assert time.thread_time() - began < 0.1
    assert told.endswith("and 974 more)")
    assert len(told) < 20_000


def test_an_export_outlives_an_exporter_that_ends_before_its_commands_were_launched():
    rig = make_rig()
    author, reader, fresh = rig.open("author"), rig.open("reader"), rig.open("fresh")
    embeds, pages = author.prompt([1, 2, 3, 4]), author.call("alloc_kvpage", 1)
    author.call("forward", [], embeds, pages, embeds[-1:])
    dropped = author.call("get_next_dist", embeds[-1:])
    author.call("export_kvpage", pages, "prefix")
    rig.layer.close(author.space)
    assert isinstance(dropped.error, TerminatedError)  # only what the export needs still runs
    imported = reader.call("import_kvpage", "prefix")
    mine = reader.prompt([5], first=4)
    reader.call("forward", imported, mine, reader.call("alloc_kvpage", 1), mine)
    whole = fresh.prompt([1, 2, 3, 4, 5])
    fresh.call("forward", [], whole, fresh.call("alloc_kvpage", 2), whole[-1:])
    assert reader.hashes(mine) == fresh.hashes(whole[-1:])


def test_an_export_that_its_exporter_has_freed_is_written_though_the_exporter_ends():
    rig = make_rig()
    author, reader = rig.open("author"), rig.open("reader")
    embeds, pages = author.prompt([1]), author.call("alloc_kvpage", 1)
    written = author.call("forward", [], embeds, pages, [])
    author.call("export_kvpage", pages, "prefix")
    author.call("dealloc_kvpage", pages)
    rig.layer.close(author.space)
    rig.loop.run()
    assert written.error is None
    imported, mine = reader.call("import_kvpage", "prefix"), reader.prompt([2], first=1)
    ticket = reader.call("forward", imported, mine, reader.call("alloc_kvpage", 1), [])
    rig.loop.run()
    assert ticket.error is None


def test_a_command_dropped_at_the_end_does_not_harm_an_export_that_reads_what_it_would_have_written():
    rig = make_rig()
    author, reader = rig.open("author"), rig.open("reader")
    embeds, pages = author.prompt([1, 2]), author.call("alloc_kvpage", 2)
    author.call("forward", [], embeds[:1], pages[:1], [])
    wanted = author.call("copy_kvpage", pages[:1], pages[1:])
    dropped = author.call("forward", [], embeds[1:], pages[:1], [])
    author.call("export_kvpage", pages[1:], "copy")
    rig.layer.close(author.space)
    rig.loop.run()
    assert isinstance(dropped.error, TerminatedError) and wanted.error is None
    assert [page.tokens for page in reader.space.resolve(KvPage, reader.call("import_kvpage", "copy"), "test")] == [1]


def test_exported_pages_whose_allocation_still_waits_are_granted_after_the_exporter_has_ended():
    rig = make_rig(pages=2)
    holder, author, reader = rig.open("holder"), rig.open("author"), rig.open("reader")
    busy, embeds = holder.call("alloc_kvpage", 2), holder.prompt([1])
    holder.call("forward", [], embeds, busy, embeds)
    holder.call("dealloc_kvpage", busy)
    author.call("export_kvpage", author.call("alloc_kvpage", 1), "empty")
    imported = reader.call("import_kvpage", "empty")
    rig.layer.close(author.space)
    mine = reader.prompt([1])
    ticket = reader.call("forward", imported, mine, reader.call("alloc_kvpage", 1), mine)
    rig.loop.run()
    assert ticket.done and ticket.error is None
    reader.call("release_kvpage", "empty")
    rig.layer.close(reader.space)
    rig.loop.run()
    assert rig.free()[0] == 2 and rig.layer.pools[KvPage].draining == 0


def test_a_page_that_was_freed_while_it_waited_is_granted_to_the_next_at_once():
    rig = make_rig(pages=1)
    program = rig.open()
    embeds, busy = program.prompt([1]), program.call("alloc_kvpage", 1)
    program.call("forward", [], embeds, busy, [])
    program.call("dealloc_kvpage", busy)  # draining
    program.call("dealloc_kvpage", program.call("alloc_kvpage", 1))
    ticket = program.call("forward", [], embeds, program.call("alloc_kvpage", 1), [])
    rig.loop.run()
    assert ticket.done and ticket.error is None


def test_imports_count_against_the_quota_and_a_time_to_live_is_positive():
    rig = make_rig()
    author, reader = rig.open("author"), rig.open("reader", quota={KvPage: 1})
    author.call("export_kvpage", author.call("alloc_kvpage", 2), "two")
    with pytest.raises(ResourceError, match="over the 1"):
        reader.call("import_kvpage", "two")
    with pytest.raises(ArgumentError, match="ttl"):
        author.call("export_kvpage", author.call("alloc_kvpage", 1), "never", -1.0)
    (listed,) = reader.call("exported_kvpages")
    assert (listed.name, listed.pages, listed.tokens, listed.owner) == ("two", 2, 0, "author")
