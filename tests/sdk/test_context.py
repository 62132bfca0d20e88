"""`Context`, against contexts filled anew.

The fake model's hidden states are hashes of all that a token sees, so two contexts give the same distribution only if
they are the same computation, position by position.
"""

import asyncio
from dataclasses import replace
from textwrap import dedent, indent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pie_core.application.limits import Limits
from pie_core.plugins import Selection
from pie_core.registry import load_registry
from pie_core.testing import FakeBackend, fake_model, run_inferlet

PROLOGUE = """
import asyncio, gc, json
from inferlet import *

async def state(context):
    dist = await context.next_dist(5)
    return list(dist.ids), list(dist.probs)

async def fresh(tokens, hidden=()):
    '''What a context filled with `tokens` in one go says, with the tokens at `hidden` masked.'''
    with get_auto_model().create_context() as context:
        context.fill_tokens(tokens)
        if hidden:
            context.mask(hidden)
        return await state(context)

def filled(tokens):
    context = get_auto_model().create_context()
    context.fill_tokens(tokens)
    return context

def pages():
    return json.loads(debug_query(create_queue(get_auto_model()), "space"))["kvpage"]

def embeds():
    return json.loads(debug_query(create_queue(get_auto_model()), "space"))["embed"]

async def main():
"""


class Model(FakeBackend):
    """A fake model of which some facts are otherwise."""

    def __init__(self, facts, **backend):
        super().__init__(**backend)
        self._info = replace(self._info, **facts)


def run(body, page_size=4, limits=None, facts=None, registry=None, leftover=0, **backend):
    """Run a program; its result, or its error as an AssertionError. All but `leftover` pages must come back."""

    async def main():
        model = fake_model(Model(facts or {}, page_size=page_size, **backend), registry)
        try:
            source = PROLOGUE + indent(dedent(body), "    ")
            outcome = await run_inferlet(source, models={"fake": model}, limits=limits)
            used = {kind.kind: pool.capacity - pool.free for kind, pool in model.layer.pools.items()}
            assert used == {"kvpage": leftover, "embed": 0}
        finally:
            model.close()
        assert outcome.ended.status == "finished", outcome.ended.error
        return outcome

    return asyncio.run(main())


# filling


@pytest.mark.parametrize("page_size", [4, 5, 16])
def test_filling_in_pieces_is_filling_at_once(page_size):
    run(
        """
        tokens = list(range(40))
        context = get_auto_model().create_context()
        for start, stop in ((0, 1), (1, 4), (4, 5), (5, 17), (17, 40)):
            context.fill_tokens(tokens[start:stop])
            assert await state(context) == await fresh(tokens[:stop])
            assert await state(context) == await fresh(tokens[:stop])   # asking twice changes nothing
        """,
        page_size,
    )


def test_a_context_longer_than_a_chunk_is_one_context():
    run(
        """
        tokens = [n % 250 for n in range(1100)]
        context = filled(tokens)
        one_by_one = await state(context)
        context.truncate(1030)
        context.fill_tokens(tokens[1030:])
        assert await state(context) == one_by_one == await fresh(tokens)
        """,
        pages=600,
        embeds=1100,
    )


def test_text_is_tokens():
    run(
        "context = get_auto_model().create_context(); await context.fill('Hé'); assert context.tokens == [72, 195, 169]"
    )


def test_a_model_with_a_start_token_gets_it_once():
    run(
        """
        context = filled([1])
        context.fill_tokens([2])
        assert context.tokens == [7, 1, 2]
        context.truncate(0)
        context.fill_tokens([3])
        assert context.tokens == [7, 3]
        """,
        facts={"bos_token": 7},
    )


# several distributions at once


@pytest.mark.parametrize("asked", [0, 3, 9])
@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_one_pass_gives_the_distribution_after_each_of_the_last_tokens(count, asked):
    """asked: how many tokens there were when the context was asked before."""
    run(
        f"""
        tokens = list(range(9))
        context = filled(tokens[:{asked}])
        if {asked}:
            await context.next_dists(max(1, {asked} - 2), 5)
        context.fill_tokens(tokens[{asked}:])
        dists = await context.next_dists({count}, 5)
        for cut, dist in zip(range(10 - {count}, 10), dists, strict=True):
            assert (list(dist.ids), list(dist.probs)) == await fresh(tokens[:cut])
        assert await state(context) == await fresh(tokens)
        """
    )


def test_several_distributions_of_a_context_with_hidden_tokens_are_those_token_by_token():
    run(
        """
        tokens = list(range(9))
        one, other = filled(tokens), filled(tokens)
        for context in (one, other):
            context.mask([0, 5, 8])
        together, by_one = filled(tokens[:4]), filled(tokens[:4])
        for context in (together, by_one):
            await context.next_dist()
            context.mask([1, 3])
        together.fill_tokens([50, 51, 52])
        dists = [(list(dist.ids), list(dist.probs)) for dist in await together.next_dists(3, 5)]
        for token, dist in zip([50, 51, 52], dists):
            by_one.fill_tokens([token])
            assert await state(by_one) == dist
        assert (await one.next_dists(4, 5))[-1].probs == (await other.next_dist(5)).probs
        """
    )


def test_more_distributions_than_a_chunk_has_tokens():
    run(
        """
        tokens = [n % 250 for n in range(1100)]
        dists = await filled(tokens).next_dists(1050, 5)
        for cut in (51, 52, 1024, 1025, 1100):
            dist = dists[cut - 51]
            assert (list(dist.ids), list(dist.probs)) == await fresh(tokens[:cut])
        """,
        pages=600,
        embeds=2500,
    )


def test_what_was_judged_is_not_run_again():
    run(
        """
        def run_so_far():
            calls = json.loads(debug_query(context.queue, "statistics"))["calls"]
            return sum(calls[name]["weight"] for name in ("forward", "decode") if name in calls)
        context = filled(list(range(10)))
        await context.next_dists(6)
        assert run_so_far() == 10
        context.truncate(7)
        assert await state(context) == await fresh(list(range(7)))
        before = run_so_far()
        child = context.fork()
        context.truncate(5)
        await context.next_dists(1)
        assert run_so_far() == before                          # nothing
        context.fill_tokens([50]); child.fill_tokens([60])
        await context.next_dists(1); await child.next_dists(1)
        assert run_so_far() == before + 2                      # the new tokens
        assert await state(context) == await fresh([0, 1, 2, 3, 4, 50])
        assert await state(child) == await fresh([0, 1, 2, 3, 4, 5, 6, 60])
        """
    )


# generating


def test_generating_is_appending_the_tokens_one_by_one():
    run(
        """
        context = filled([1, 2, 3])
        await context.generate(stop=max_tokens(20))
        tokens = [1, 2, 3]
        for _ in range(20):
            best = (await fresh(tokens))[0][0]
            tokens.append(best)
            if best == 256: tokens.pop(); break
        assert context.tokens == tokens
        """
    )


def test_an_answer_ends_at_the_models_end_token_and_streams_whole_characters():
    answer = "Äpfel 😀 und Öl."
    outcome = run(
        f"""
        context = filled([0] * {len(answer.encode()) + 1})     # the fake model recites from the start again
        async for piece in context.stream():
            send(piece)
        """,
        answer=answer,
    )
    assert outcome.messages == list(answer)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("max_token=3", "abc"),
        ("stop='de'", "abc"),
        ("stop=['x', 'd']", "abc"),
        ("max_token=100", "abcdef"),
        ("max_token=0", ""),
        ("", "abcdef"),
        ("sampler=sampling(1.0, seed=3)", "abcdef"),
        ("max_token=2, constraints=[lambda dist, answer: Dist([65 + len(answer)], [1.0])]", "AB"),
    ],
)
def test_generate_until(how, text):
    # the fake model recites the answer from the place that the position says: position 7 is its start
    run(
        f"""
        context = filled([0] * 7)
        assert await context.generate_until({how}) == {text!r}
        """,
        answer="abcdef",
    )


def test_generation_ends_where_the_models_range_ends():
    outcome = run(
        """
        context = filled([1] * 10)
        await context.generate(sampler=lambda dist: 65)
        assert len(context.tokens) == 24
        context.fill_tokens([1])
        try:
            await context.next_dist()
        except ArgumentError as error:
            return str(error)
        """,
        facts={"max_position": 24},
    )
    assert "position 24 is outside the model's range of 24" in outcome.ended.value


def test_a_chat_turn_follows_the_models_template():
    run(
        """
        context = get_auto_model().create_context()
        await context.system("Be kind.")
        await context.user("Hi")
        assert bytes(context.tokens).decode() == "<system>Be kind.<user>Hi"
        """
    )


# shaping, each against a context filled anew


@pytest.mark.parametrize("length", [1, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("asked", [False, True])
def test_a_fork_is_a_context_with_the_same_tokens(length, asked):
    run(
        f"""
        tokens = list(range({length}))
        parent = filled(tokens)
        if {asked}:
            await parent.next_dist()
        child = parent.fork()
        parent.fill_tokens([100, 101]); child.fill_tokens([200])
        assert await state(child) == await fresh(tokens + [200])
        assert await state(parent) == await fresh(tokens + [100, 101])
        grandchild = child.fork()
        child.close()
        assert await state(grandchild) == await fresh(tokens + [200])
        parent.close(); grandchild.close()
        assert pages() == 0 and embeds() == 0
        """
    )


def test_an_empty_context_can_be_forked():
    run(
        """
        child = get_auto_model().create_context().fork()
        child.fill_tokens([1])
        assert await state(child) == await fresh([1])
        """
    )


def test_forks_share_full_pages():
    run(
        """
        parent = filled(list(range(18)))                       # 4 full pages and one of 2
        await parent.next_dist()
        assert pages() == 5
        children = [parent.fork() for _ in range(6)]
        assert pages() == 5 + 6                                # a copy of the partial page each
        for number, child in enumerate(children):
            child.fill_tokens([number])
            await child.next_dist()
        assert pages() == 5 + 6
        parent.close()
        assert pages() == 4 + 6
        for child in children[1:]:
            child.close()
        assert pages() == 5
        children[0].close()
        assert pages() == 0
        """
    )


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 9, 10])
@pytest.mark.parametrize("asked", [False, True])
def test_a_truncated_context_is_a_shorter_one(count, asked):
    run(
        f"""
        tokens = list(range(10))
        context = filled(tokens)
        if {asked}:
            await context.next_dist()
        other = context.fork()
        context.truncate({count})
        if {count}:
            assert await state(context) == await fresh(tokens[:{count}])
        context.fill_tokens([50, 51])
        assert await state(context) == await fresh(tokens[:{count}] + [50, 51])
        assert await state(other) == await fresh(tokens)       # a fork notices nothing
        """
    )


def test_truncating_does_not_compute_again_what_is_kept():
    run(
        """
        context = filled(list(range(40)))
        await context.next_dist()
        def run_so_far():
            calls = json.loads(debug_query(context.queue, "statistics"))["calls"]
            return sum(calls[name]["weight"] for name in ("forward", "decode") if name in calls)
        before = run_so_far()
        context.truncate(30)
        await context.next_dist()
        assert run_so_far() == before + 1
        """
    )


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("hidden", ["[0]", "range(3)", "range(4, 8)", "[1, 5, 9]", "range(10)", "range(11)", "[10]"])
def test_masked_tokens_are_not_seen_by_what_follows(asked, hidden):
    """The oracle is by hand, below the library: the same passes with the pages' masks set between them."""
    run(
        f"""
        tokens, hidden = list(range(11)), set({hidden})
        context = filled(tokens)
        if {asked}:
            await context.next_dist()
        context.mask({hidden})
        first = await state(context)
        context.fill_tokens([50])
        second = await state(context)
        unasked = filled(tokens)
        unasked.mask({hidden})
        unasked.fill_tokens([50])
        assert await state(unasked) == second

        q = create_queue(get_auto_model())
        table, e, one = alloc_kvpage(q, 3), alloc_emb(q, 10), alloc_emb(q, 1)
        embed_txt(q, tokens[:10], list(range(10)), e)
        forward(q, [], e, table, one)
        shown = [i not in hidden for i in range(12)]
        mask_kvpage(q, table, shown)
        embed_txt(q, 10, 10, one)
        forward(q, table, one, table, one)
        dist = await get_next_dist(q, one, 5)
        assert first == (list(dist.ids), list(dist.probs))
        mask_kvpage(q, table, shown)                           # the last token is hidden once it has been run
        embed_txt(q, 50, 11, one)
        forward(q, table, one, table, one)
        dist = await get_next_dist(q, one, 5)
        assert second == (list(dist.ids), list(dist.probs))
        """
    )


def test_masked_tokens_can_be_shown_again():
    run(
        """
        tokens = list(range(11))
        context = filled(tokens)
        await context.next_dist()
        context.mask(range(6))
        assert await state(context) != await fresh(tokens)
        context.mask(range(6), visible=True)
        assert await state(context) == await fresh(tokens)
        """
    )


def test_a_mask_in_one_fork_is_invisible_in_the_other():
    run(
        """
        tokens = list(range(11))
        parent = filled(tokens)
        child = parent.fork()
        child.mask(range(4))
        assert await state(parent) == await fresh(tokens)
        assert await state(child) == await fresh(tokens, range(4))
        parent.mask([9])
        assert await state(child) == await fresh(tokens, range(4))
        assert await state(parent) == await fresh(tokens, [9])
        """
    )


def test_a_fork_inherits_the_mask():
    run(
        """
        tokens = list(range(11))
        parent = filled(tokens)
        parent.mask([0, 5, 10])
        child = parent.fork()
        assert await state(child) == await state(parent)
        child.fill_tokens([7]); parent.fill_tokens([7])
        assert await state(child) == await state(parent)
        """
    )


def test_truncating_forgets_the_masks_of_the_tokens_cut_off():
    run(
        """
        tokens = list(range(8))
        context = filled(tokens)
        context.mask(range(4, 8))
        context.truncate(5)
        context.fill_tokens([60, 61, 62, 63])
        context.mask([0]); context.mask([0], visible=True)
        context.mask([4], visible=True)
        context.truncate(4)
        context.fill_tokens([60, 61, 62])
        context.mask([0]); context.mask([0], visible=True)    # writes the masks of the pages anew
        assert await state(context) == await fresh(tokens[:4] + [60, 61, 62])
        """
    )


def test_dropping_masked_pages_frees_them_and_changes_nothing():
    run(
        """
        tokens = list(range(19))
        context = filled(tokens)
        context.mask(range(10))
        before = await state(context)
        assert context.drop_masked_pages() == 2 and pages() == 3
        assert context.drop_masked_pages() == 0
        assert await state(context) == before
        context.fill_tokens([40, 41, 42])
        with_gap = await state(context)
        child = context.fork()
        assert await state(child) == with_gap
        context.truncate(13)
        whole = filled(tokens[:13])
        whole.mask(range(10))
        undropped = await state(whole)
        assert len(undropped[0]) == 5 and await state(context) != with_gap
        """
    )


def test_a_rolling_window_stays_within_its_pages():
    run(
        """
        context = filled([1])
        for step in range(100):
            context.fill_tokens([step])
            await context.next_dist()
            context.mask(range(max(0, len(context.tokens) - 8)))
            context.drop_masked_pages()
            assert pages() <= 4
        """,
        pages=6,
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("filled([]).truncate(1)", "truncate: 1 is outside the context of 0 tokens"),
        ("filled([1]).truncate(-1)", "truncate: -1 is outside"),
        ("await filled([1]).next_dists(0)", "hidden_states: 0 of a context of 1 tokens"),
        ("await filled([1]).next_dists(2)", "hidden_states: 2 of a context of 1 tokens"),
        ("filled([1]).mask(range(2))", "reaches outside the 1 tokens"),
        ("filled([1]).mask([-1])", "reaches outside"),
        ("await filled([]).next_dist()", "the context is empty; fill something first"),
        ("await filled([]).generate()", "the context is empty"),
        ("await filled([1]).generate(max_tokens(3))", "sampler: got a stop condition; write stop=max_tokens(...)"),
        ("await filled([1]).generate(3)", "sampler: expected greedy(), sampling(...) or a function of a distribution"),
        ("await filled([1]).generate(stop='.')", "stop: expected max_tokens(...), ends_with(...) or a function"),
        ("await filled([1]).generate(constraints=greedy())", "constraints: expected a list, got a constraint alone"),
        ("await filled([1]).generate(constraints=[lambda dist, _: None])", "it returned NoneType; return a Dist"),
        ("await filled([1]).generate_until('3')", "max_tokens: a whole number is wanted, got '3' (str)"),
        ("await filled([1]).generate_until(-1)", "max_tokens: 0 or more are wanted, got -1"),
        ("[p async for p in filled([1]).stream(max_tokens(3))]", "sampler: got a stop condition"),
        ("c = filled([1]); c.close(); await c.next_dist()", "this context was closed"),
        ("c = filled([1]); c.close(); c.fill_tokens([1])", "this context was closed"),
        ("c = filled([1]); c.close(); c.fork()", "this context was closed"),
        (
            "c = filled(range(12)); c.mask(range(8)); c.drop_masked_pages(); c.truncate(3)",
            "were dropped and cannot be cut",
        ),
        ("await filled([300]).next_dist()", "outside the vocabulary"),
    ],
)
def test_a_wrong_call_is_an_error_and_leaves_the_context_usable(call, message):
    outcome = run(
        f"""
        try:
            {call.replace("; ", chr(10) + "            ")}
        except PieError as error:
            return str(error)
        """
    )
    assert message in outcome.ended.value


def test_a_refused_truncation_changes_nothing():
    run(
        """
        context = filled(range(12))
        context.mask(range(8)); before = await state(context)
        context.drop_masked_pages()
        try: context.truncate(3)
        except ArgumentError: pass
        assert len(context.tokens) == 12 and await state(context) == before
        """
    )


# giving back


@pytest.mark.parametrize(
    "end",
    [
        "context.close(); context.close()",
        "del context",
        "context = None",
        "context.itself = context; del context; gc.collect()",
        "with context: pass",
    ],
)
def test_everything_comes_back_when_a_context_is_closed_or_forgotten(end):
    run(
        f"""
        context = filled(range(10))
        await context.next_dist()
        assert (pages(), embeds()) == (3, 1)
        {end}
        await asyncio.sleep(0)
        assert (pages(), embeds()) == (0, 0)
        """
    )


def test_a_fork_that_finds_no_room_leaves_its_parent_whole():
    run(
        """
        parent = filled(range(6))
        before = await state(parent)
        try:
            parent.fork()
            assert False
        except ResourceError:
            pass
        gc.collect()
        await asyncio.sleep(0)
        assert await state(parent) == before and (pages(), embeds()) == (2, 1)
        parent.fill_tokens([1])
        await state(parent)
        """,
        limits=Limits(kvpages=2),
    )


def test_filling_that_finds_no_room_keeps_nothing_and_can_be_tried_again():
    run(
        """
        context = filled(range(8))
        before = await state(context)
        context.fill_tokens(range(8, 20))
        for _ in range(3):
            try:
                await context.next_dist()
                assert False
            except ResourceError:
                assert (pages(), embeds()) == (2, 1)
        context.truncate(8)
        assert await state(context) == before
        """,
        limits=Limits(kvpages=3),
    )


def test_a_program_may_make_any_number_of_contexts_one_after_the_other():
    run(
        """
        for number in range(3000):
            with filled([number % 250]) as context:
                set_queue_priority(context.queue, 5)
                if number % 500 == 0:
                    child = context.fork()
                    assert json.loads(debug_query(child.queue, "queue"))["priority"] == 0
                    assert child.queue.handle != context.queue.handle
                    child.close()
        """
    )


# random programs


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["fill", "fill", "fork", "truncate", "ask", "close"]), st.integers(0, 5), st.integers(0, 12)
        ),
        max_size=25,
    )
)
def test_whatever_was_done_to_contexts_each_is_what_its_tokens_say(steps):
    run(
        f"""
        contexts = [filled([1, 2, 3])]
        for kind, which, count in {steps}:
            if not contexts: break
            context = contexts[which % len(contexts)]
            if kind == "fill":
                context.fill_tokens(range(count))
            elif kind == "fork":
                contexts.append(context.fork())
            elif kind == "truncate":
                context.truncate(min(count, len(context.tokens)))
            elif kind == "ask" and context.tokens:
                await context.next_dist()
            elif kind == "close":
                contexts.remove(context)
                context.close()
        for context in contexts:
            if context.tokens:
                assert await state(context) == await fresh(context.tokens)
            context.close()
        assert (pages(), embeds()) == (0, 0)
        """,
        pages=400,
        embeds=400,
    )


# sharing with other inferlets


@pytest.mark.parametrize("length", [1, 3, 4, 5, 8, 9])
def test_an_exported_context_can_be_opened_and_both_go_on_on_their_own(length):
    run(
        f"""
        tokens = list(range({length}))
        author = filled(tokens)
        author.export("prefix")
        reader = Context.open(get_auto_model(), "prefix", tokens)
        assert await state(reader) == await fresh(tokens)
        author.fill_tokens([50]); reader.fill_tokens([60, 61])
        assert await state(author) == await fresh(tokens + [50])
        assert await state(reader) == await fresh(tokens + [60, 61])
        again = Context.open(get_auto_model(), "prefix", tokens)
        author.close(); reader.close()
        assert await state(again) == await fresh(tokens)
        """,
        registry=load_registry(Selection()),
        leftover=-(-length // 4),
    )


@pytest.mark.parametrize("length", [1, 4, 6])
def test_what_goes_on_from_an_export_runs_its_own_tokens_only(length):
    run(
        f"""
        def run_so_far():
            calls = json.loads(debug_query(author.queue, "statistics"))["calls"]
            return sum(calls[name]["weight"] for name in ("forward", "decode") if name in calls)
        tokens = list(range({length}))
        author = filled(tokens)
        await author.next_dist()
        author.export("prefix")
        before = run_so_far()
        with Context.open(get_auto_model(), "prefix", tokens) as reader:
            reader.fill_tokens([50, 51])
            assert await state(reader) == await fresh(tokens + [50, 51])
        assert run_so_far() == before + 2 + {length} + 2       # the reader's two, and those of the fresh context
        release_kvpage("prefix")
        """,
        registry=load_registry(Selection()),
    )


def test_a_context_with_dropped_pages_cannot_be_exported():
    outcome = run(
        """
        context = filled(range(9))
        context.mask(range(4)); context.drop_masked_pages()
        try:
            context.export("x")
        except PieError as error:
            return str(error)
        """,
        registry=load_registry(Selection()),
    )
    assert "pages of this context were dropped" in outcome.ended.value


# adapters


def test_every_token_of_a_context_goes_through_its_adapter_forks_and_openings_included():
    run(
        """
        def forward_by_hand(adapter, tokens):
            q = create_queue(get_auto_model())
            embeds, pages = alloc_emb(q, len(tokens)), alloc_kvpage(q, 2)
            embed_txt(q, tokens, range(len(tokens)), embeds)
            forward_with_adapter(q, adapter, [], embeds, pages, embeds)
            return q, embeds[-1]

        model = get_auto_model()
        assert model.adapters == ("poet", "judge") and list_adapters(model) == ["poet", "judge"]
        seen = set()
        for adapter in model.adapters:
            with model.create_context(adapter=adapter) as context:
                context.fill_tokens([1, 2, 3])
                await context.next_dist()
                context.fill_tokens([4, 5])
                said = await state(context)
                dist = await get_next_dist(*forward_by_hand(adapter, [1, 2, 3, 4, 5]), 5)
                assert said == (list(dist.ids), list(dist.probs))
                with context.fork() as child:
                    assert child.adapter == adapter and await state(child) == said
                context.export(adapter)
            with Context.open(model, adapter, [1, 2, 3, 4, 5], adapter=adapter) as opened:
                assert await state(opened) == said
            release_kvpage(adapter)
            seen.add(str(said))
        seen.add(str(await fresh([1, 2, 3, 4, 5])))
        assert len(seen) == 3
        """,
        adapters=["poet", "judge"],
    )


def test_an_unknown_adapter_is_refused_when_the_context_is_made():
    run(
        """
        try:
            get_auto_model().create_context(adapter="poets")
        except ArgumentError as error:
            assert str(error) == "model 'fake' has no adapter 'poets'; it has poet"
        else:
            raise AssertionError("it was taken")
        """,
        adapters=["poet"],
    )
