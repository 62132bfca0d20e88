"""Who looks at a control layer is told of all that happens, changes nothing, and costs nothing once it is gone."""

from __future__ import annotations

from collections import Counter

import pytest

from pie_core import Embed, KvPage
from pie_core.control.holdings import holdings
from pie_core.control.observer import Observer
from pie_core.control.swap_policy import Swap, SwapOptions
from pie_core.testing.rig import make_rig


class Diary(Observer):
    def __init__(self):
        self.seen = []

    def opened(self, space):
        self.seen.append(("opened", space.owner))

    def enqueued(self, submission):
        self.seen.append(("enqueued", submission.command.signature().name))

    def launched(self, wave):
        self.seen.append(("launched", [batch.kind.signature().name for batch in wave.batches]))

    def completed(self, wave):
        self.seen.append(("completed", [len(batch.entries) for batch in wave.batches]))


def work(rig, name="a"):
    program = rig.open(name)
    pages, embeds = program.call("alloc_kvpage", 2), program.prompt([1, 2, 3, 4, 5])
    program.call("forward", [], embeds, pages, embeds[-1:])
    program.call("get_next_dist", embeds[-1:])
    return program, pages, embeds


def test_an_observer_is_told_of_spaces_commands_and_waves_in_order():
    rig, diary = make_rig(), Diary()
    rig.layer.observers.add(diary)
    rig.layer.observers.add(diary)  # once is enough
    work(rig)
    rig.loop.run()
    commands = ["embed_txt", "forward", "get_next_dist"]
    assert diary.seen == [
        ("opened", "a"),
        *[("enqueued", name) for name in commands],
        ("launched", commands),
        ("completed", [1, 1, 1]),
    ]


def test_what_is_enqueued_is_told_with_the_slots_that_it_will_fill():
    rig, slots = make_rig(page_size=4), []

    class Slots(Observer):
        def enqueued(self, submission):
            slots.append(getattr(submission.command, "slots", None))

    rig.layer.observers.add(Slots())
    work(rig)
    assert slots[1] == ((0, 0), (0, 1), (0, 2), (0, 3), (1, 0))


def test_who_is_removed_is_told_nothing_more():
    rig, diary = make_rig(), Diary()
    rig.layer.observers.add(diary)
    rig.layer.observers.remove(diary)
    rig.layer.observers.remove(diary)
    work(rig)
    rig.loop.run()
    assert diary.seen == []


@pytest.mark.parametrize("event", ["opened", "enqueued", "launched", "completed"])
def test_an_observer_that_raises_harms_nobody_and_is_not_called_again(event, capsys):
    def fail(self, _):
        calls.append(event)
        raise RuntimeError("of the one who looks")

    calls, rig, alone = [], make_rig(), make_rig()
    diary = Diary()
    rig.layer.observers.add(type("Broken", (Observer,), {event: fail})())
    rig.layer.observers.add(diary)
    results = []
    for each in (rig, alone):
        program, _, embeds = work(each)
        program.prompt([7])
        results.append(program.hashes(embeds[-1:]))
    assert results[0] == results[1]
    assert calls == [event]
    assert Counter(what for what, _ in diary.seen)["enqueued"] == 4
    assert "observer.failed" in "".join(capsys.readouterr())


def test_holdings_are_what_the_books_say_of_each_physical_page():
    rig = make_rig(page_size=4)
    first, pages, _ = work(rig, "a")
    rig.loop.run()
    first.call("export_kvpage", pages, "shared", None)
    second = rig.open("b")
    second.call("import_kvpage", "shared")
    own = second.call("alloc_kvpage", 3)
    found = holdings(rig.layer, KvPage)
    shared = {record.index for record in first.space.resolve(KvPage, pages, "test")}
    alone = {record.index for record in second.space.resolve(KvPage, own, "test")}
    assert found.keys() == shared | alone == set(range(64)) - set(rig.layer.pools[KvPage].free_indices)
    assert {(found[index].owner, found[index].holders) for index in shared} == {("a", 3)}
    assert {(found[index].owner, found[index].holders) for index in alone} == {("b", 1)}
    assert {holding.owner for holding in holdings(rig.layer, Embed).values()} == {"a"}
    rig.layer.close(first.space)
    rig.layer.close(second.space)
    left = holdings(rig.layer, KvPage)
    assert left.keys() == shared
    assert {(holding.owner, holding.user, holding.holders) for holding in left.values()} == {(None, "user", 1)}
    assert len(holdings(rig.layer, Embed)) == 0


def test_what_waits_for_room_or_is_in_host_memory_is_held_at_no_index():
    rig = make_rig(pages=4, contention=Swap(SwapOptions()))
    first, second = rig.open("a"), rig.open("b")
    first.call("alloc_kvpage", 3)
    second.call("alloc_kvpage", 3)
    assert second.space.unbound(KvPage) == 3
    assert {index: holding.owner for index, holding in holdings(rig.layer, KvPage).items()} == dict.fromkeys(
        range(3), "a"
    )
