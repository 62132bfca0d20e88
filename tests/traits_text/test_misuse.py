"""Every wrong call is an error that names the mistake, before anything was changed."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import load, pie_handlers

from pie_core import ArgumentError, Embed, HandleError, KvPage, ModelSpec, ResourceError
from pie_core.testing.rig import make_rig

from ..checkpoints import write_adapter, write_llama

SIZE = 4


@pytest.fixture(scope="module")
def torch_backend(tmp_path_factory):
    """The torch backend, with the fake one's vocabulary, range, adapters and page size."""
    folder = tmp_path_factory.mktemp("torch")
    checkpoint = write_llama(folder / "llama", ["</s>"], max_position_embeddings=4096)
    adapters = ",".join(str(write_adapter(folder / name, seed)) for seed, name in enumerate(["poet", "judge"]))
    loaded = load(
        ModelSpec("fake", checkpoint), TorchOptions(adapters=adapters, pages=1, embeds=1), lambda stage, share: None
    )
    info = replace(loaded.info, kvpage_size=SIZE)  # its options allow no pages that small
    return TorchBackend(info, loaded.decoder, loaded.tokenizer, 16, 32, 4096, loaded.selection)


@pytest.fixture(params=["fake", "torch"])
def world(request):
    """A rig with every kind of handle one can get wrong. `full` holds 4 tokens, `part` 3 (one hidden), `empty` none."""
    if request.param == "torch":
        rig = make_rig(backend=request.getfixturevalue("torch_backend"), handlers=pie_handlers(), name="torch")
    else:
        rig = make_rig(pages=16, embeds=32, page_size=SIZE, adapters=["poet", "judge"])
    mine, other = rig.open("mine"), rig.open("other")
    pages = mine.call("alloc_kvpage", 5)
    full, part, empty, shared, gone = ([page] for page in pages)
    embeds = mine.prompt([10, 11, 12, 13, 14, 15, 16])
    mine.call("forward", [], embeds, [*full, *part], [])
    mine.call("mask_kvpage", part, [True, False, True])
    mine.space.export(shared, "shared", None)
    mine.call("dealloc_kvpage", gone)
    unwritten, lost = mine.call("alloc_emb", 2)
    mine.call("dealloc_emb", [lost])
    far = mine.call("alloc_emb", 1)
    mine.call("embed_txt", [1], [4095], far)
    mine.call("forward", [], far, mine.call("alloc_kvpage", 1), far)  # its output stands one past the model's range
    other_page, other_embed = other.call("alloc_kvpage", 1), other.prompt([1])
    rig.loop.run()
    return SimpleNamespace(
        rig=rig, mine=mine, full=full, part=part, empty=empty, shared=shared, gone=gone, e=embeds, blank=[unwritten],
        lost=[lost], far=far, other_page=other_page, other_embed=other_embed, call=mine.call,
    )  # fmt: skip


def books(w):
    """All that a refused call must leave as it was."""
    spaces = [w.mine.space, w.rig.layer.spaces["other"]]
    records = [record for space in spaces for table in space.tables.values() for record in table.values()]
    state = []
    for record in records:
        slots = (record.used, record.hidden) if isinstance(record, KvPage) else record.position
        state.append((id(record), record.index, record.holders, record.uses, record.writer, len(record.readers), slots))
    queues = [len(queue.outstanding) for space in spaces for queue in space.queues.values()]
    shapes = list(w.rig.device.shapes)
    return w.rig.free(), state, queues, shapes, contents(w.rig.backend)


def contents(backend):
    """All that the backend's pools hold."""
    if isinstance(backend, TorchBackend):
        pool = backend.pool
        return [tensor.numpy().tobytes() for tensor in (*pool.keys, *pool.values, pool.positions, backend.embeds)]
    return dict(backend.slots), dict(backend.embeds)


MISUSES = {
    # allocate
    "alloc_kvpage": [
        ("no count", lambda w: (), "alloc_kvpage takes 1 arguments, got 0"),
        ("too many arguments", lambda w: (1, 2), "takes 1 arguments, got 2"),
        ("text", lambda w: ("3",), "argument `n`: expected an integer, got '3' (str)"),
        ("a fraction", lambda w: (1.5,), "expected an integer, got 1.5"),
        ("a truth", lambda w: (True,), "expected an integer, got True"),
        ("negative", lambda w: (-1,), "-1 is outside 0..4294967295"),
        ("more than there are", lambda w: (17,), "17 kvpages asked for, 5 held: over the 16"),
        ("huge", lambda w: (2**32 - 1,), "4294967295 kvpages asked for"),
    ],
    "dealloc_kvpage": [
        ("freed before", lambda w: ([*w.full, *w.gone],), "is not a kvpage of this inferlet; it was freed before"),
        ("named twice", lambda w: ([*w.full, *w.full],), "a handle is named twice"),
        ("another inferlet's", lambda w: ([*w.full, *w.other_page],), "is not a kvpage of this inferlet"),
        ("an Embed", lambda w: ([*w.full, w.e[0]],), "is not a kvpage of this inferlet"),
        ("unknown", lambda w: ([12345],), "12345 is not a kvpage"),
        ("negative", lambda w: ([-1],), "-1 is not a kvpage"),
        ("text", lambda w: (["x"],), "'x' is not a kvpage"),
        ("a list in the list", lambda w: ([w.full],), "is not a kvpage"),
        ("not a list", lambda w: (w.full[0],), "argument `kv`: expected a list of handles, got int"),
        ("nothing", lambda w: (None,), "expected a list of handles, got NoneType"),
    ],
    "alloc_emb": [
        ("negative", lambda w: (-1,), "-1 is outside"),
        ("more than there are", lambda w: (33,), "33 embeds asked for, 9 held: over the 32"),
    ],
    "dealloc_emb": [
        ("freed before", lambda w: ([w.e[0], *w.lost],), "is not a embed of this inferlet; it was freed before"),
        ("named twice", lambda w: ([w.e[0], w.e[0]],), "a handle is named twice"),
        ("another inferlet's", lambda w: ([w.e[0], *w.other_embed],), "is not a embed"),
        ("a page", lambda w: (w.full,), "is not a embed"),
    ],
    "copy_kvpage": [
        ("unequal lists", lambda w: (w.full, [*w.empty, *w.part]), "1 source pages for 2 destination pages"),
        ("onto itself", lambda w: (w.full, w.full), "as source and destination"),
        ("one destination twice", lambda w: ([*w.full, *w.part], [*w.empty, *w.empty]), "destination twice"),
        ("past the source", lambda w: (w.full, w.empty, 2, 0, 3), "source slots 2..5 reach past the page of 4 slots"),
        ("past the destination", lambda w: (w.full, w.empty, 0, 2), "destination slots 2..6 reach past the page of 4"),
        ("from outside", lambda w: (w.full, w.empty, 100), "source slots 100..100 reach past"),
        ("a huge length", lambda w: (w.full, w.empty, 0, 0, 2**32 - 1), "reach past the page"),
        ("a negative start", lambda w: (w.full, w.empty, -1), "argument `src_start`: -1 is outside"),
        ("into a shared page", lambda w: (w.full, w.shared), "shared with 1 other holder(s)"),
        ("from a freed page", lambda w: (w.gone, w.empty), "argument `src`"),
        ("into another inferlet's", lambda w: (w.full, w.other_page), "argument `dst`"),
    ],
    # forward
    "forward": [
        ("nothing to run", lambda w: ([], [], w.empty, []), "`iemb` is empty"),
        ("an unwritten Embed", lambda w: ([], [w.e[0], *w.blank], w.empty, []), "Embed 1 of `iemb` was never written"),
        ("a freed Embed", lambda w: ([], w.lost, w.empty, []), "argument `iemb`"),
        ("another inferlet's Embed", lambda w: ([], w.other_embed, w.empty, []), "argument `iemb`"),
        ("another inferlet's page to write", lambda w: ([], w.e, w.other_page, []), "argument `okv`"),
        ("another inferlet's context", lambda w: (w.other_page, w.e[:1], w.empty, []), "argument `ikv`"),
        ("pages where Embeds belong", lambda w: ([], w.empty, w.e, []), "is not a embed"),
        ("no room", lambda w: ([], w.e[:5], w.empty, []), "`okv` has 4 free slots for 5 tokens"),
        ("a full page", lambda w: (w.full, w.e[:1], w.full, []), "`okv` has 0 free slots for 1 tokens"),
        ("no page to write", lambda w: (w.full, w.e[:1], [], []), "`okv` has 0 free slots"),
        ("a page to write named twice", lambda w: ([], w.e[:5], [*w.empty, *w.empty], []), "is named twice in `okv`"),
        ("a context page named twice", lambda w: (w.full * 2, w.e[:1], w.empty, []), "is named twice in `ikv`"),
        ("a shared page written", lambda w: (w.shared, w.e[:1], w.shared, []), "read-only; allocate a fresh one"),
        ("more out than in", lambda w: ([], w.e[:1], w.empty, w.e[:2]), "`oemb` has 2 Embeds for 1 tokens"),
        ("an output named twice", lambda w: ([], w.e[:2], w.empty, [w.e[0]] * 2), "named twice in `oemb`"),
        ("another inferlet's output", lambda w: ([], w.e[:1], w.empty, w.other_embed), "argument `oemb`"),
        ("past the range", lambda w: ([], w.far, w.empty, []), "position 4096, outside the model's range of 4096"),
        ("a mask too narrow", lambda w: (w.full, w.e[:1], w.empty, [], [True] * 4), "mask is 1x4; for 1 tokens over 4"),
        ("a mask too wide", lambda w: (w.full, w.e[:1], w.empty, [], [True] * 6), "it must be 1x5"),
        ("a mask of too few rows", lambda w: ([], w.e[:2], w.empty, [], [[1, 1]]), "it must be 2x2"),
        ("a mask that forgets the hidden", lambda w: (w.part, w.e[:1], w.empty, [], [1] * 3), "it must be 1x4"),
        ("a ragged mask", lambda w: ([], w.e[:2], w.empty, [], [[1, 1], [1]]), "differ in length"),
        ("a mask of numbers", lambda w: ([], w.e[:1], w.empty, [], [0.5]), "made of True and False"),
        ("a mask of text", lambda w: ([], w.e[:1], w.empty, [], "1"), "argument `mask`: expected a mask"),
        ("too few arguments", lambda w: ([], w.e[:1], w.empty), "forward takes 4 to 5 arguments, got 3"),
    ],
    "mask_kvpage": [
        ("too short", lambda w: (w.full, [True] * 3), "3 values for pages that hold 4 tokens in 4 slots"),
        ("too long", lambda w: (w.part, [True] * 5), "5 values for pages that hold 3 tokens in 4 slots"),
        ("not truths", lambda w: (w.full, [2] * 4), "made of True and False"),
        ("a page twice", lambda w: ([*w.full, *w.full], [True] * 8), "a page is named twice"),
        ("a shared page", lambda w: (w.shared, []), "read-only"),
        ("another inferlet's", lambda w: (w.other_page, []), "argument `kv`"),
    ],
    # input_text
    "embed_txt": [
        ("more tokens", lambda w: ([1, 2], [0], w.e[:1]), "2 tokens, 1 positions and 1 Embeds"),
        ("more positions", lambda w: ([1], [0, 1], w.e[:1]), "1 tokens, 2 positions"),
        ("more Embeds", lambda w: ([1], [0], w.e[:2]), "2 Embeds; give one of each"),
        ("outside the vocabulary", lambda w: ([257], [0], w.e[:1]), "token 257 is outside the vocabulary of 257"),
        ("a negative token", lambda w: ([-1], [0], w.e[:1]), "argument `tok`: -1 is outside"),
        ("a token that is no number", lambda w: (["a"], [0], w.e[:1]), "argument `tok`: expected an integer, got 'a'"),
        ("text", lambda w: ("a", [0], w.e[:1]), "argument `tok`: expected a list, got str"),
        ("outside the range", lambda w: ([1], [4096], w.e[:1]), "position 4096 is outside the model's range of 4096"),
        ("a negative position", lambda w: ([1], [-1], w.e[:1]), "argument `pos`: -1 is outside"),
        ("an Embed named twice", lambda w: ([1, 2], [0, 1], [w.e[0]] * 2), "an Embed is named twice"),
        ("a freed Embed", lambda w: ([1], [0], w.lost), "argument `emb`"),
        ("another inferlet's Embed", lambda w: ([1], [0], w.other_embed), "argument `emb`"),
    ],
    # sharing
    "export_kvpage": [
        ("another inferlet's page", lambda w: (w.other_page, "x"), "is not a kvpage of this inferlet"),
        ("an Embed", lambda w: (w.e[:1], "x"), "is not a kvpage"),
        ("no time to live", lambda w: (w.full, "x", 0.0), "a ttl of 0.0 seconds"),
        ("a name that is no text", lambda w: (w.full, 5), "argument `name`: expected str"),
        ("a page twice", lambda w: ([*w.full, *w.full], "x"), "a page is named twice"),
        ("a very long name", lambda w: (w.full, "x" * 257), "257 characters is over the 256 allowed"),
    ],
    "import_kvpage": [("an unknown name", lambda w: ("sharde",), "did you mean 'shared'")],
    "release_kvpage": [("an unknown name", lambda w: ("sharde",), "did you mean 'shared'")],
    # output_text
    "get_next_dist": [
        ("two Embeds", lambda w: (w.e[:2],), "one Embed is wanted, got 2"),
        ("no Embed", lambda w: ([],), "one Embed is wanted, got 0"),
        ("an unwritten Embed", lambda w: (w.blank,), "never written; run forward"),
        ("a freed Embed", lambda w: (w.lost,), "argument `emb`"),
        ("another inferlet's", lambda w: (w.other_embed,), "argument `emb`"),
        ("top 0", lambda w: (w.e[:1], 0), "top_k is 0"),
        ("a negative top", lambda w: (w.e[:1], -1), "argument `top_k`: -1 is outside"),
        ("a fractional top", lambda w: (w.e[:1], 1.5), "argument `top_k`: expected an integer"),
    ],
    # tokenize
    "tokenize": [
        ("bytes", lambda w: (b"x",), "argument `text`: expected str, got b'x'"),
        ("a number", lambda w: (5,), "argument `text`: expected str, got 5"),
        ("half a character", lambda w: ("\udc80",), "half a surrogate pair"),
    ],
    "detokenize": [
        ("outside the vocabulary", lambda w: ([1, 257],), "257 is outside the vocabulary"),
        ("negative", lambda w: ([-1],), "argument `ids`: -1 is outside"),
        ("text", lambda w: ("abc",), "argument `ids`: expected a list, got str"),
    ],
}  # fmt: skip
MISUSES["forward_with_adapter"] = [
    (
        "an unknown adapter",
        lambda w: ("poets", [], w.e[:1], w.empty, []),
        "has no adapter 'poets'; did you mean 'poet'",
    ),
    ("no adapter", lambda w: (None, [], w.e[:1], w.empty, []), "argument `adapter`: expected str, got None"),
    ("too few arguments", lambda w: ("poet", [], w.e[:1], w.empty), "takes 5 to 6 arguments, got 4"),
    *((what, lambda w, wrong=wrong: ("poet", *wrong(w)), text) for what, wrong, text in MISUSES["forward"][:-1]),
]

CASES = [
    pytest.param(call, arguments, fragment, id=f"{call}: {what}")
    for call, cases in MISUSES.items()
    for what, arguments, fragment in cases
]


@pytest.mark.parametrize(("call", "arguments", "fragment"), CASES)
def test_a_wrong_call_is_refused_by_name_and_changes_nothing(world, call, arguments, fragment):
    given = arguments(world)
    before = books(world)
    with pytest.raises((ArgumentError, ResourceError)) as caught:
        world.call(call, *given)
    message = str(caught.value)
    assert fragment in message
    assert call.partition("_")[0] in message or isinstance(caught.value, ResourceError)  # it names the call
    assert call in message or call != "forward_with_adapter"  # and not the one it is a variation of
    assert books(world) == before
    world.rig.loop.run()
    assert books(world) == before


def test_every_call_of_the_text_traits_that_takes_something_is_in_the_table(world):
    known = world.rig.layer._binders
    assert set(MISUSES) == set(known) - {"get_kvpage_size", "get_vocabs", "exported_kvpages", "list_adapters"}


@pytest.mark.parametrize("queue", [None, 12345, "q"])
def test_a_command_without_a_queue_of_this_inferlet_is_refused(world, queue):
    before = books(world)
    with pytest.raises(ArgumentError, match="queue"):
        world.mine.space.call("embed_txt", queue, ([1], [0], world.e[:1]))
    assert books(world) == before


def test_a_page_that_someone_else_frees_meanwhile_stays_sound(world):
    """Embeds and pages are values of the queue: freeing them behind a command changes nothing for it."""
    ticket = world.call("forward", world.full, world.e[:1], world.empty, world.e[:1])
    dist = world.call("get_next_dist", world.e[:1])
    world.call("dealloc_kvpage", [*world.full, *world.empty])
    world.call("dealloc_emb", world.e)
    world.rig.loop.run()
    assert ticket.error is None and dist.error is None and len(dist.value.ids) == 256


def test_handles_of_the_wrong_kind_are_told_apart_although_both_are_numbers(world):
    with pytest.raises(HandleError, match=f"{world.e[0]} is not a kvpage"):
        world.call("dealloc_kvpage", world.e[:1])


# what the right calls do to the books; what they compute is the business of pie_traits_text.testing


def test_without_adapters_there_is_none_to_list_and_none_to_name():
    p = make_rig().open()
    assert p.space.call("list_adapters", None, ()) == []
    with pytest.raises(ArgumentError, match="has no adapter 'poet'; there is none"):
        p.call("forward_with_adapter", "poet", [], p.prompt([1]), p.call("alloc_kvpage", 1), [])


def test_fill_counts_are_known_when_the_command_is_enqueued():
    rig = make_rig(page_size=SIZE)
    p = rig.open()
    pages = p.call("alloc_kvpage", 3)
    embeds = p.prompt(list(range(6)))
    p.call("forward", [], embeds, pages, [])
    records = p.space.resolve(KvPage, pages, "test")
    assert [record.tokens for record in records] == [4, 2, 0]
    p.call("forward", pages, embeds[:3], pages, [])
    assert [record.tokens for record in records] == [4, 4, 1]


def test_an_output_embed_stands_one_position_after_its_token():
    rig = make_rig()
    p = rig.open()
    embeds = p.prompt([1, 2, 3], first=7)
    p.call("forward", [], embeds, p.call("alloc_kvpage", 1), embeds[:2])
    positions = [record.position for record in p.space.resolve(Embed, embeds, "test")]
    assert positions == [9, 10, 9]  # tokens 8 and 9 wrote the first two; the third was only read


@pytest.mark.parametrize("values", [[False, True, False], [False, True, False, True]])
def test_a_mask_is_given_per_token_or_per_slot_and_can_be_taken_back(values):
    rig = make_rig(page_size=SIZE)
    p = rig.open()
    page = p.call("alloc_kvpage", 1)
    p.call("forward", [], p.prompt([1, 2, 3]), page, [])
    record = p.space.resolve(KvPage, page, "test")[0]
    p.call("mask_kvpage", page, values)
    assert record.hidden == 0b101
    p.call("mask_kvpage", page, [True] * len(values))
    assert record.hidden == 0
