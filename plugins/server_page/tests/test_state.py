"""What the page is told is so: compared with what programs know of themselves, with /metrics, and with the pools."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import msgspec
import pytest
from pie_server_page.state import read_books, runs_of
from pie_server_page.watching import Watch
from prometheus_client.parser import text_string_to_metric_families

from pie_core import KvPage
from pie_core.application.limits import Limits
from pie_core.control.holdings import holdings
from pie_core.testing.rig import make_rig

HOLD = """
from inferlet import *
from inferlet.calls import alloc_kvpage, alloc_emb, dealloc_kvpage
async def main():
    queue = get_auto_model().create_queue()
    pages = alloc_kvpage(queue, {pages})
    alloc_emb(queue, {embeds})
    send("holds")
    await receive()
"""
SHARE = """
from inferlet import *
from inferlet.calls import alloc_kvpage, export_kvpage, synchronize
async def main():
    queue = get_auto_model().create_queue()
    pages = alloc_kvpage(queue, 5)
    await synchronize(queue)
    export_kvpage(pages[:3], "shared")
    send("holds")
    await receive()
"""
IMPORT = """
from inferlet import *
from inferlet.calls import alloc_kvpage, import_kvpage, release_kvpage
async def main():
    queue = get_auto_model().create_queue()
    import_kvpage("shared")
    alloc_kvpage(queue, 2)
    send("holds")
    await receive()
    release_kvpage("shared")
"""
GENERATE = """
import asyncio
from inferlet import *
async def main():
    await asyncio.gather(*map(answer, ("some text of this length", "another", "and a third one")))

async def answer(text):
    with get_auto_model().create_context() as context:
        await context.fill(text)
        for _ in range(6):
            dist = await context.next_dist()
            context.fill_tokens([dist.ids[0]])
"""
DECODE = """
from inferlet import *
async def main():
    with get_auto_model().create_context() as context:
        await context.fill("The capital of France is")
        return await context.generate(greedy(), max_tokens(20))
"""


def state(server, since=0):
    answer = server.get(f"/page/state?since={since}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json()


def books(server):
    """Read anew."""
    before = state(server)["books"]
    while (found := state(server)["books"])["time"] == before["time"]:
        pass
    return found


def hold(server, source, user="local"):
    """An inferlet that has said something, and waits."""
    inferlet = server.launch(source, "holder", user)

    async def read():
        return inferlet.events.get()

    reading = server.run(read())
    server.until(lambda: reading.done)
    return inferlet


def cells(pool):
    """The owner of each index: an id, or the number of what it is."""
    owners = [o for count, o, _ in pool["runs"] for _ in range(count)]
    return [pool["owners"][owner] if owner >= 0 else owner for owner in owners]


def pool_of(found, kind):
    (model,) = found["models"]
    return next(pool for pool in model["pools"] if pool["kind"] == kind)


def test_inferlets_and_pools_are_what_the_programs_hold(fake):
    held = {hold(fake, HOLD.format(pages=pages, embeds=pages + 1)).id: pages for pages in (3, 1, 7)}
    found = books(fake)
    assert {each["id"]: each["held"]["kvpage"] for each in found["inferlets"]} == held
    assert {each["status"] for each in found["inferlets"]} == {"running"}
    assert [each["queues"] for each in found["inferlets"]] == [1, 1, 1]
    pages, embeds = pool_of(found, "kvpage"), pool_of(found, "embed")
    assert Counter(cells(pages)) == {**held, -1: 64 - sum(held.values())}
    assert Counter(cells(embeds)) == {**{id_: n + 1 for id_, n in held.items()}, -1: 256 - sum(held.values()) - 3}
    free = {at for at, cell in enumerate(cells(pages)) if cell == -1}
    assert free == set(fake.until(lambda: fake.model.layer.pools[_kind(fake, "kvpage")].free_indices))
    assert (pages["capacity"], pages["free"]) == (64, 64 - sum(held.values()))


def _kind(server, name):
    return next(kind for kind in server.model.layer.pools if kind.kind == name)


@pytest.mark.parametrize("seed", range(6))
def test_the_runs_of_a_pool_are_what_is_true_of_each_index(seed):
    """Pages are held, exported, and freed while commands wait that touch them; the oracle looks at one by one."""
    draw, rig = random.Random(seed), make_rig(pages=48, page_size=4)
    programs = [rig.open(name, user) for name, user in (("a", "me"), ("b", "me"), ("c", "other"), ("d", "other"))]
    held = {program.space.owner: [] for program in programs}
    for step in range(90):
        program = draw.choice(programs)
        mine = held[program.space.owner]
        if len(mine) < 12 and sum(map(len, held.values())) < 30:
            mine += program.call("alloc_kvpage", draw.randrange(1, 4))
        if len(mine) > 2 and draw.random() < 0.5:
            program.call("copy_kvpage", [mine[-1]], [mine[-2]], 0, 0, 0)  # waits: the loop does not run
        if mine and draw.random() < 0.3:
            program.call("dealloc_kvpage", [mine.pop(draw.randrange(len(mine)))])
        if mine and draw.random() < 0.1:
            program.call("export_kvpage", [mine.pop(0)], f"{step}", None)
        if step == 40:
            rig.loop.run()  # what was freed until now is free
    for sees in ("me", None):
        owners = {}
        runs = runs_of(rig.layer.pools[KvPage], holdings(rig.layer, KvPage), sees, owners)
        assert all(one[1:] != other[1:] for one, other in itertools.pairwise(runs))
        names = {number: owner for owner, number in owners.items()}
        told = [names.get(owner, owner) for count, owner, _ in runs for _ in range(count)]
        assert told == [truth(rig, index, sees) for index in range(48)]
        assert -2 in told


def truth(rig, index, sees):
    """Who has one page."""
    if index in rig.layer.pools[KvPage].free_indices:
        return -1
    for space in rig.layer.spaces.values():
        if any(record.index == index for record in space.tables[KvPage].values()):
            return space.owner if sees in (None, space.user) else -4
    for user, export in rig.layer.memory.published():
        if any(record.index == index for record in export.pages):
            return -3 if sees in (None, user) else -4
    return -2


def test_shared_and_exported_pages_are_marked(fake):
    exporter, importer = hold(fake, SHARE), hold(fake, IMPORT)
    runs = pool_of(books(fake), "kvpage")
    sharing = {}
    for count, owner, holders in runs["runs"]:
        if owner >= 0:
            sharing.setdefault(runs["owners"][owner], Counter())[holders] += count
    assert sharing == {exporter.id: {3: 3, 1: 2}, importer.id: {1: 2}}
    fake.run(stopped(fake, exporter))
    assert Counter(cells(pool_of(books(fake), "kvpage"))) == {importer.id: 5, -1: 59}
    importer.deliver("go on")
    fake.result(importer)


async def stopped(server, inferlet):
    server.state.controller.application.stop(inferlet, "over")


def test_of_other_users_only_how_much_they_hold_is_told(fake):
    state(fake)  # from now on somebody looks
    mine, other = hold(fake, HOLD.format(pages=2, embeds=2)), hold(fake, HOLD.format(pages=4, embeds=2), "somebody")

    async def read(sees):
        controller = fake.state.controller
        read = read_books(controller.application.list(sees), controller.models, {"fake": 0}, sees)
        return msgspec.to_builtins(read)

    found = fake.run(read("local"))
    assert [each["id"] for each in found["inferlets"]] == [mine.id]
    assert Counter(cells(pool_of(found, "kvpage"))) == {mine.id: 2, -4: 4, -1: 58}
    assert other.id not in str(found)
    everything = fake.run(read(None))
    assert Counter(cells(pool_of(everything, "kvpage"))) == {mine.id: 2, other.id: 4, -1: 58}


def test_of_other_users_no_tree_is_told(fake):
    watch = Watch()

    async def keep():
        watch.keep(fake.state.controller.models)

    fake.run(keep())
    mine, other = (hold(fake, HOLD.format(pages=1, embeds=1), user) for user in ("local", "somebody"))
    seen = {sees: [watch.tree(each.id, sees) is not None for each in (mine, other)] for sees in ("local", None)}
    assert seen == {"local": [True, False], None: [True, True]}


def metrics(server, name):
    """By command."""
    families = text_string_to_metric_families(server.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {sample.labels.get("command", ""): sample.value for sample in samples}


def test_spans_are_the_waves_that_prometheus_counts(fake):
    names = ("pie_batch_size_count", "pie_batch_size_sum", "pie_command_weight_total")
    since = state(fake)["last"]
    before = {name: metrics(fake, name) for name in names}
    (waves,) = metrics(fake, "pie_waves_total").values()
    fake.result(fake.launch(GENERATE))
    told = state(fake, since)
    after = {name: metrics(fake, name) for name in names}
    spans = told["spans"]
    assert max(span["size"] for span in spans) == 3
    numbers = [span["number"] for span in spans]
    assert numbers == list(range(told["last"] - len(spans) + 1, told["last"] + 1)) and numbers[0] > since
    for name, of in zip(names, ((lambda s: 1), (lambda s: s["size"]), (lambda s: s["weight"])), strict=True):
        counted = Counter()
        for span in spans:
            counted[span["call"]] += of(span)
        grown = {call: value - before[name].get(call, 0) for call, value in after[name].items()}
        assert counted == {call: value for call, value in grown.items() if value}, name
    (grown,) = (value - waves for value in metrics(fake, "pie_waves_total").values())
    assert len({span["start"] for span in spans}) == grown
    assert {span["trait"] for span in spans} == {"input_text", "forward", "output_text"}
    assert all(span["start"] <= span["end"] <= told["now"] and span["waited"] >= 0 for span in spans)
    assert state(fake, told["last"])["spans"] == []
    (model,) = books(fake)["models"]
    assert model["tokens"] == sum(c["weight"] for c in model["calls"] if c["call"] in ("forward", "decode"))


def test_commands_in_steps_have_spans_of_their_own(pico):
    since, before = state(pico)["last"], metrics(pico, "pie_command_weight_total").get("decode", 0)
    pico.result(pico.launch(DECODE))
    spans = [span for span in state(pico, since)["spans"] if span["steps"]]
    assert {(span["call"], span["trait"], span["size"]) for span in spans} == {("decode", "decode", 1)}
    grown = metrics(pico, "pie_command_weight_total")["decode"] - before
    assert sum(span["weight"] for span in spans) == grown > 0
    assert state(pico)["books"]["models"][0]["stepping"] == 0


def test_who_waits_in_line_is_said_to_wait(fake_served):
    with fake_served(Limits(max_inferlets=1)) as server:
        first = hold(server, HOLD.format(pages=1, embeds=1))
        second = server.launch(HOLD.format(pages=1, embeds=1), "second")
        found = {each["id"]: each["status"] for each in books(server)["inferlets"]}
        assert found == {first.id: "running", second.id: "waiting"}
        server.stop_all()


def test_nobody_looks_any_more_when_nobody_asks(fake_served):
    with fake_served() as server:
        layer, watch = server.model.layer, Watch(lease_s=0.01)
        assert not layer.observers.present

        async def keep():
            watch.keep(server.state.controller.models)
            assert layer.observers.present

        server.run(keep())
        server.until(lambda: not layer.observers.present)
        server.run(keep())
        server.until(lambda: not layer.observers.present)
        inferlet = hold(server, HOLD.format(pages=1, embeds=1))
        assert watch.tree(inferlet.id, "local") is None
        server.stop_all()


@pytest.mark.parametrize("since", ["", "-1", "x", "1.5", "9007199254740992", "1" * 100, "\u0661"])
def test_a_wrong_since_is_refused_in_words(fake, since):
    answer = fake.get("/page/state", params={"since": since})
    assert answer.status_code == 400
    assert "since=" in answer.json()["error"]["message"]
