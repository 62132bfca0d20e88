"""The guest's host: few crossings, the server's own errors and messages, nothing that could trap the component."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace

import inferlet
import pytest
from inferlet import calls
from inferlet.errors import ArgumentError, HandleError, PieError, ResourceError
from inferlet.handles import Queue
from inferlet.host import current
from inferlet_guest.values import check_of, pack_bits, pack_mask
from pie_traits_text.allocate import ALLOCATE
from pie_traits_text.forward import FORWARD
from pie_traits_text.input_text import INPUT_TEXT
from pie_traits_text.output_text import OUTPUT_TEXT
from pie_traits_text.tokenize import TOKENIZE

from pie_core.application.interface import describe
from pie_core.errors import ArgumentError as ServerArgumentError
from pie_core.schema import Mask
from tests.wasm.fake_imports import Err, FakeImports, Guest, WitMask

DIST = SimpleNamespace(ids=[4, 2], probs=[0.5, 0.25], rest=0.25)


@pytest.fixture(scope="module")
def declarations():
    return describe([INPUT_TEXT, OUTPUT_TEXT, FORWARD, ALLOCATE, TOKENIZE])


@pytest.fixture
def start(declarations):
    """Run `main(q)` in a guest with these imports; the guest and what `main` returned."""
    calls.install(declarations)

    def run(main, **answers):
        guest = Guest(FakeImports(**answers), declarations)
        token = current.set(guest.host)
        try:
            return guest, guest.loop.run(main(Queue("m", 3)))
        finally:
            current.reset(token)

    return run


def test_a_step_of_decoding_crosses_four_times(start):
    async def main(q):
        inferlet.embed_txt(q, [7], [0], [1])
        inferlet.forward(q, [5], [1], [5], [1])
        return await inferlet.get_next_dist(q, [1], 2)

    guest, dist = start(main, get_next_dist_result=lambda ticket: DIST)
    assert guest.imports.crossings == [
        ("embed_txt", 3, [7], [0], [1]),
        ("forward", 3, [5], [1], [5], [1], None),
        ("get_next_dist", 3, [1], 2),
        ("get_next_dist_result", 3),
    ]
    assert (dist.ids, dist.probs, dist.rest) == ([4, 2], [0.5, 0.25], 0.25)


def test_what_waits_together_is_waited_for_together(start):
    async def main(q):
        return await asyncio.gather(*(inferlet.get_next_dist(q, [n]) for n in range(8)))

    guest, dists = start(main, get_next_dist_result=lambda ticket: DIST)
    assert len(dists) == 8
    assert [c for c in guest.imports.crossings if c[0] == "wait"] == [("wait", list(range(1, 9)))]


def test_a_task_that_is_not_alone_does_not_hold_up_the_others(start):
    async def main(q):
        order = []

        async def other():
            order.append("other")

        task = asyncio.create_task(other())
        await inferlet.get_next_dist(q, [1])
        order.append("main")
        await task
        return order

    guest, order = start(main, get_next_dist_result=lambda ticket: DIST)
    assert order == ["other", "main"]
    assert guest.imports.names() == ["get_next_dist", "wait", "get_next_dist_result"]


def test_a_task_that_cancelled_itself_does_not_get_the_result(start):
    async def main(q):
        asyncio.current_task().cancel()
        try:
            await inferlet.get_next_dist(q, [1])
        except asyncio.CancelledError:
            return "cancelled"

    _, found = start(main, get_next_dist_result=lambda ticket: DIST)
    assert found == "cancelled"


def test_a_result_may_be_awaited_by_many_and_again(start):
    async def main(q):
        future = inferlet.get_next_dist(q, [1])

        async def wait():
            return (await future).ids

        return [*await asyncio.gather(wait(), wait()), await wait(), future.done]

    guest, found = start(main, get_next_dist_result=lambda ticket: DIST)
    assert found == [[4, 2], [4, 2], [4, 2], True]
    assert guest.imports.names().count("get_next_dist_result") == 1


def test_giving_up_waiting_does_not_give_up_the_call(start):
    async def main(q):
        future = inferlet.get_next_dist(q, [1])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.01)
        return (await future).ids

    guest, ids = start(main, get_next_dist=slow_ticket, get_next_dist_result=lambda ticket: DIST)
    assert ids == [4, 2] and guest.imports.dropped == []


def test_one_of_two_that_wait_for_a_result_may_give_up(start):
    async def main(q):
        future = inferlet.get_next_dist(q, [1])

        async def wait():
            return (await future).ids

        patient, other = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0)
        other.cancel()
        return await patient

    guest, ids = start(main, get_next_dist=slow_ticket, get_next_dist_result=lambda ticket: DIST)
    assert ids == [4, 2] and guest.imports.dropped == []


def test_a_reader_that_gives_up_leaves_the_line(start):
    async def main(_):
        imports = current.get().loop.imports
        imports.answers["receive"] = lambda: imports.done_in(10)
        future = inferlet.receive()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.01)
        with pytest.raises(ArgumentError, match="given up while it waited"):
            await future
        imports.answers["receive"] = lambda: imports.done_in(1)
        return await inferlet.receive()

    guest, text = start(main, receive_result=lambda ticket: f"message {ticket}")
    assert text == "message 3" and guest.imports.dropped == [1]


def test_results_that_nobody_wants_are_let_go_of_in_one_crossing_and_empty_ones_for_free(start):
    async def main(q):
        for n in range(5):
            inferlet.get_next_dist(q, [n])
            inferlet.forward(q, [], [1], [1], [1])
        gc.collect()
        await asyncio.sleep(0.01)

    guest, _ = start(main)
    assert guest.imports.dropped == [1, 3, 5, 7, 9] and guest.imports.names().count("drop") == 1


def test_errors_of_the_server_are_those_of_the_sdk(start):
    def refuse(*_):
        raise Err("resource", "the pool is dry")

    async def main(q):
        with pytest.raises(ResourceError, match="dry") as at_once:
            inferlet.alloc_kvpage(q, 1)
        with pytest.raises(ResourceError, match="dry"):
            await inferlet.get_next_dist(q, [1])
        failed = inferlet.forward(q, [], [1], [1], [1])
        for _ in range(2):
            with pytest.raises(ResourceError, match="dry"):
                await failed
        return at_once.value

    _, error = start(main, alloc_kvpage=refuse, get_next_dist_result=refuse, outcome=refuse)
    assert error.code == "resource" and error.__cause__ is None and error.__suppress_context__


def test_done_asks_the_server_and_lets_it_go_on(start):
    async def main(q):
        future = inferlet.get_next_dist(q, [1])
        return future.done, (await future).ids, future.done

    _, found = start(main, get_next_dist_result=lambda ticket: DIST)
    assert found == (True, [4, 2], True)
    _, found = start(main, get_next_dist=slow_ticket, get_next_dist_result=lambda ticket: DIST)
    assert found == (False, [4, 2], True)


def slow_ticket(*_):
    return current.get().loop.imports.done_in(1)


def test_models_and_plain_results_come_through(start):
    async def main(q):
        inferlet.send_blob(b"\0\1")
        return inferlet.get_vocabs(q), inferlet.alloc_emb(q, 2), await inferlet.receive_blob()

    _, found = start(
        main,
        get_vocabs=lambda q: [b"a", b""],
        alloc_emb=lambda q, n: [1, 2],
        send_blob=lambda data: None,
        receive_blob_result=lambda ticket: b"x",
    )
    assert found == ([b"a", b""], [1, 2], b"x") and repr(found[1][0]) == "Embed(1)"


def test_a_deferred_release_runs_as_the_inferlet_and_its_refusal_is_silent(start):
    async def main(q):
        host, seen = current.get(), []

        def release():
            seen.append(current.get() is host)
            raise PieError("has ended")

        host.defer(release)
        await asyncio.sleep(0)
        return seen

    guest, seen = start(main)
    assert seen == [True] and guest.reports == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda q: inferlet.alloc_kvpage(q, -1), "alloc_kvpage: argument `n`: -1 is outside 0..4294967295"),
        (lambda q: inferlet.alloc_kvpage(q, 1.5), "argument `n`: expected an integer, got 1.5 (float)"),
        (lambda q: inferlet.alloc_kvpage(q, True), "expected an integer, got True (bool)"),
        (lambda q: inferlet.detokenize(q, [1, 1 << 32]), "argument `ids`: 4294967296 is outside 0..4294967295"),
        (lambda q: inferlet.detokenize(q, ["a"]), "argument `ids`: expected an integer, got 'a' (str)"),
        (lambda q: inferlet.tokenize(q, b"a"), "argument `text`: expected str, got b'a' (bytes)"),
        (lambda q: inferlet.tokenize(q, "\ud800"), "half a surrogate pair at 0 is not text"),
        (lambda q: inferlet.sleep("x"), "argument `seconds`: expected float, got 'x' (str)"),
        (lambda q: inferlet.send_blob("x"), "argument `data`: expected bytes, got 'x' (str)"),
        (lambda q: inferlet.set_queue_priority(q, 1 << 31), "argument `pri`: 2147483648 is outside"),
        (lambda q: inferlet.mask_kvpage(q, [1], [[1, 2]]), "a mask is made of True and False (got 2)"),
        (lambda q: inferlet.mask_kvpage(q, [1], [[1], [1, 0]]), "the rows of the mask differ in length: [1, 2]"),
        (lambda q: inferlet.mask_kvpage(q, [1], "x"), "expected a mask (rows of True and False), got str"),
        (lambda q: current.get().call("tokenize", "m", 3, ()), "tokenize takes 1 arguments, got 0"),
        (lambda q: current.get().call("nothing", "m", 3, ()), "no installed trait has a call 'nothing'"),
    ],
)
def test_what_does_not_fit_its_type_is_refused_before_it_crosses(start, call, message):
    async def main(q):
        with pytest.raises(ArgumentError) as refused:
            call(q)
        return str(refused.value)

    guest, text = start(main)
    assert message in text and guest.imports.crossings == []


@pytest.mark.parametrize("handles", [[1, -1], [None], ["a"], [1 << 40], [1.0]])
def test_what_cannot_be_a_handle_is_refused_as_the_server_does_it(start, handles):
    async def main(q):
        with pytest.raises(HandleError, match="is not a kvpage of this inferlet"):
            inferlet.forward(q, handles, [1], [1], [1])
        with pytest.raises(HandleError, match="is not a queue"):
            inferlet.alloc_emb(Queue("m", -1), 1)

    guest, _ = start(main)
    assert guest.imports.crossings == []


MASKS = [
    [[True, False], [1, 0]],
    [True, False, True],
    [],
    [[]],
    [[], []],
    bytes([1, 0, 1]),
    [bytearray([0, 1])],
    Mask(2, 2, bytes([1, 1, 0, 1])),
    [[True] * 13] * 5,
    [[False] * 8],
]


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: repr(mask)[:30])
def test_a_mask_is_packed_into_what_the_server_would_have_made_of_it(mask):
    rows, cols, data = pack_mask(mask, "m")
    expected = Mask.of(mask, "m")
    assert (rows, cols) == (expected.rows, expected.cols) and len(data) == (rows * cols + 7) // 8
    assert [data[n // 8] >> n % 8 & 1 for n in range(rows * cols)] == list(expected.data)


@pytest.mark.parametrize("mask", ["x", 5, [2], [b"\0\2"], [[1], [1, 1]], [None], [["a"]], {1}, Mask(1, 2, b"\1")])
def test_a_wrong_mask_is_refused_in_the_words_of_the_server(mask):
    with pytest.raises(ServerArgumentError) as expected:
        Mask.of(mask, "m")
    with pytest.raises(ArgumentError) as found:
        pack_mask(mask, "m")
    assert str(found.value) == str(expected.value)


def test_bits_are_packed_low_first():
    assert pack_bits(bytes([1, 0, 0, 0, 0, 0, 0, 0, 1, 1])) == b"\x01\x03"
    assert pack_bits(b"") == b""


def test_a_mask_crosses_as_a_record(start):
    async def main(q):
        inferlet.forward(q, [1], [1], [1], [1], [[True, False]])

    guest, _ = start(main)
    assert guest.imports.crossings[0][-1] == WitMask(1, 2, b"\1")


@pytest.mark.parametrize(
    ("kind", "good", "expected"),
    [
        ("list<list<u32>>", [[1], []], [[1], []]),
        ("option<list<u32>>", None, None),
        ("list<string>", ["a"], ["a"]),
        ("list<f32>", [1, 2.5], [1.0, 2.5]),
        ("f64", 1, 1.0),
        ("bytes", bytearray(b"a"), b"a"),
        ("s64", -(1 << 63), -(1 << 63)),
        ("list<kvpage>", (1, 2), [1, 2]),
        ("bool", True, True),
    ],
)
def test_what_fits_comes_through(kind, good, expected):
    assert check_of(kind, WitMask)(good, "x") == expected
