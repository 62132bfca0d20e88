"""`Context.attention` and `roll`, against forward passes with masks made by hand.

The fake model's hidden states are hashes of all that a token sees, so equal distributions are equal views.
"""

import asyncio
from textwrap import dedent, indent

import pytest

from pie_core.testing import FakeBackend, fake_model, run_inferlet

PROLOGUE = """
import json
from inferlet import *

async def state(context):
    dist = await context.next_dist(5)
    return list(dist.ids), list(dist.probs)

def every_third(position):
    return [range(at, at + 1) for at in range(position % 3, position + 9, 3)]    # ranges past the token are cut

def last_six(position):
    return [range(position - 5, position + 1)]

async def by_hand(tokens, sees):
    '''What follows `tokens`, each of which sees what `sees` says.'''
    model = get_auto_model()
    q, n = model.create_queue(), len(tokens)
    embeds, pages = alloc_emb(q, n), alloc_kvpage(q, -(-n // model.kvpage_size))
    embed_txt(q, tokens, list(range(n)), embeds)
    rows = [[any(column in span for span in sees(row)) and column <= row for column in range(n)] for row in range(n)]
    forward(q, [], embeds, pages, embeds[-1:], rows)
    dist = await get_next_dist(q, embeds[-1:], 5)
    dealloc_emb(q, embeds); dealloc_kvpage(q, pages)
    return list(dist.ids), list(dist.probs)

def pages():
    return json.loads(debug_query(create_queue(get_auto_model()), "space"))["kvpage"]

async def main():
    tokens = list(range(30, 57))
    context = get_auto_model().create_context()
"""


def run(body: str, **backend: object) -> None:
    """Run a program on pages of four tokens; it must end well."""

    async def go():
        model = fake_model(FakeBackend(page_size=4, **backend))
        try:
            outcome = await run_inferlet(PROLOGUE + indent(dedent(body), "    "), models={"fake": model})
        finally:
            model.close()
        assert outcome.ended.status == "finished", outcome.ended.error

    asyncio.run(go())


@pytest.mark.parametrize("pattern", ["every_third", "last_six"])
@pytest.mark.parametrize("piece", [1, 4, 5, 27])
def test_tokens_see_what_the_pattern_says_however_they_are_filled_in(pattern, piece):
    run(
        f"""
        context.attention = {pattern}
        for start in range(0, 27, {piece}):
            context.fill_tokens(tokens[start : start + {piece}])
            await context.next_dist()
        assert await state(context) == await by_hand(tokens, {pattern})
        """
    )


def test_a_pattern_holds_for_the_tokens_run_after_it_was_set():
    run(
        """
        context.fill_tokens(tokens[:9])
        await context.next_dist()
        context.attention = last_six
        context.fill_tokens(tokens[9:])
        assert await state(context) == await by_hand(tokens, lambda at: [range(at + 1)] if at < 9 else last_six(at))
        """
    )


def test_forks_and_cut_contexts_keep_the_pattern():
    run(
        """
        context.attention = last_six
        context.fill_tokens(tokens)
        with context.fork() as child:
            child.fill_tokens([7])
            assert await state(child) == await by_hand([*tokens, 7], last_six)
        context.truncate(13)
        assert await state(context) == await by_hand(tokens[:13], last_six)
        """
    )


def test_hidden_tokens_stay_hidden_whatever_the_pattern_says():
    run(
        """
        context.attention = last_six
        context.fill_tokens(tokens[:9])
        context.mask([7])
        context.fill_tokens(tokens[9:12])
        assert await state(context) == await by_hand(
            tokens[:12], lambda at: [range(at - 5, 7), range(7 if at < 8 else 8, at + 1)]
        )
        """
    )


def test_pages_that_are_seen_no_more_are_dropped_and_nothing_changes():
    run(
        """
        context.attention = last_six
        context.fill_tokens(tokens[:25])                            # the last one sees 19 to 24
        assert context.drop_masked_pages() == 4 and pages() == 3    # which hold 16 to 24
        with context.fork() as child:
            assert await state(child) == await by_hand(tokens[:25], last_six)
        assert await state(context) == await by_hand(tokens[:25], last_six)
        context.fill_tokens([7, 8])
        assert await state(context) == await by_hand([*tokens[:25], 7, 8], last_six)
        """
    )


def test_rolling_is_one_pass_of_the_pattern_in_constant_memory():
    run(
        """
        context.attention = last_six
        for start in range(0, 240, 8):
            roll(context, tokens[:8], 6)
            await context.next_dist()
            assert pages() <= 4
        assert await state(context) == await by_hand(tokens[:8] * 30, last_six)
        """,
        pages=80,
    )


def test_where_positions_end_the_first_tokens_stay_and_the_last_are_run_again():
    run(
        """
        model = get_auto_model()
        sees = lambda at: [range(3), range(at - 5, at + 1)]
        context.attention = sees
        text = [at % 250 for at in range(model.max_position)]
        roll(context, text, 6, 3)
        assert context.tokens == text
        roll(context, [251, 252], 6, 3)
        assert context.tokens == [0, 1, 2, *text[-6:], 251, 252]
        assert await state(context) == await by_hand(context.tokens, sees)
        """,
    )
