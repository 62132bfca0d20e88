"""Text on the guest's side: incremental decoding, stop conditions, chat templates."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from inferlet import PieError, TextDecoder, any_of, ends_with, lines, max_tokens, render_chat
from inferlet.stopping import cut

MULTIBYTE = st.text(st.sampled_from("aä€😀 \n\u0301한") | st.characters(codec="utf-8"), max_size=30)


def split(data, cuts):
    """Byte strings that make up `data`; the tokens of an imagined vocabulary."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)] or [b""]


def decode(tokens, together=1):
    """(pieces as they were shown, the rest) with token ids that stand for byte strings, so many at a time."""
    decoder = TextDecoder(lambda ids: b"".join(tokens[i] for i in ids).decode("utf-8", "replace"))
    ids = range(len(tokens))
    return [decoder.add(*ids[at : at + together]) for at in ids[::together]], decoder.flush()


@given(MULTIBYTE.filter(lambda text: "\ufffd" not in text), st.lists(st.integers(0, 200), max_size=40))
@example("😀", [1, 2, 3])
@example("a😀b", [2, 3])
def test_any_text_in_any_split_into_tokens_comes_out_whole_and_never_half_a_character(text, cuts):
    pieces, rest = decode(split(text.encode(), cuts))
    assert "".join(pieces) + rest == text
    assert not any("\ufffd" in piece for piece in pieces) and rest == ""


@given(MULTIBYTE.filter(lambda text: "\ufffd" not in text), st.lists(st.integers(0, 200), max_size=40))
def test_text_is_shown_as_soon_as_its_characters_are_whole(text, cuts):
    tokens = split(text.encode(), cuts)
    pieces, _ = decode(tokens)
    for count in range(len(tokens) + 1):
        so_far = b"".join(tokens[:count])
        try:
            whole = so_far.decode()
        except UnicodeDecodeError:
            continue
        assert "".join(pieces[:count]) == whole


@given(
    MULTIBYTE.filter(lambda text: "\ufffd" not in text), st.lists(st.integers(0, 200), max_size=40), st.integers(2, 25)
)
def test_of_tokens_that_come_together_all_is_shown_that_is_whole(text, cuts, together):
    tokens = split(text.encode(), cuts)
    pieces, rest = decode(tokens, together)
    assert "".join(pieces) + rest == text
    alone, _ = decode(tokens)
    for count, _ in enumerate(pieces, 1):
        assert "".join(pieces[:count]) == "".join(alone[: count * together])


@given(st.binary(max_size=30), st.lists(st.integers(0, 200), max_size=40), st.integers(1, 25))
def test_what_is_not_utf8_comes_out_with_replacements_and_nothing_is_lost(data, cuts, together):
    """A byte that can never become a character may wait for the next one, but not get lost."""
    pieces, rest = decode(split(data, cuts), together)
    assert "".join(pieces) + rest == data.decode("utf-8", "replace")


def test_an_unfinished_character_is_shown_at_the_end_as_a_replacement():
    pieces, rest = decode([b"a", "😀".encode()[:2]])
    assert (pieces, rest) == (["a", ""], "\ufffd")


def test_a_decoder_goes_on_after_a_flush():
    words = [b"a", b"b", b"c"]
    decoder = TextDecoder(lambda ids: b"".join(words[i] for i in ids).decode())
    assert [decoder.add(0), decoder.flush(), decoder.add(1), decoder.add(2), decoder.flush()] == ["a", "", "b", "c", ""]


def test_a_leading_space_that_a_tokenizer_drops_at_the_start_is_kept_in_the_middle():
    """SentencePiece: detokenizing a tail alone would lose the space before its first word."""
    words = ["Hello", " world", " again"]
    decoder = TextDecoder(lambda ids: "".join(words[i] for i in ids).removeprefix(" "))
    assert [decoder.add(i) for i in range(3)] == words


@pytest.mark.parametrize("together", [1, 7, 100])
def test_only_a_short_tail_is_decoded_again(together):
    longest = 0

    def detokenize(ids):
        nonlocal longest
        longest = max(longest, len(ids))
        return "x" * len(ids)

    decoder = TextDecoder(detokenize)
    shown = "".join(decoder.add(*range(at, at + together)) for at in range(0, 700, together))
    assert longest <= 16 + together and shown == "x" * 700


@pytest.mark.parametrize(
    ("condition", "tokens", "text", "stops"),
    [
        (max_tokens(2), [1], "", False), (max_tokens(2), [1, 2], "", True), (max_tokens(0), [], "", True),
        (ends_with("b"), [], "abc", True), (ends_with("d"), [], "abc", False), (ends_with(), [], "abc", False),
        (ends_with("x", "c"), [], "abc", True), (any_of(), [], "", False),
        (any_of(max_tokens(5), ends_with("c")), [1], "abc", True),
        (any_of(max_tokens(5), ends_with("x")), [1], "abc", False),
    ],
)  # fmt: skip
def test_stop_conditions(condition, tokens, text, stops):
    assert condition(tokens, text) is stops


@pytest.mark.parametrize(
    ("text", "endings", "left"),
    [("a. b. c", [". "], "a"), ("a", ["x"], "a"), ("ab", ["b", "a"], ""), ("a", [], "a"), ("a\n\nb", ["\n\n"], "a")],
)
def test_a_text_is_cut_before_the_first_ending(text, endings, left):
    assert cut(text, endings) == left


TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_conversation_is_rendered_as_the_template_says():
    turns = [{"role": "user", "content": "Hi {{ 1 }}"}, {"role": "assistant", "content": "Ho"}]
    assert render_chat(TEMPLATE, turns) == "<|user|>Hi {{ 1 }}<|end|><|assistant|>Ho<|end|><|assistant|>"
    assert render_chat(TEMPLATE, turns[:1], add_generation_prompt=False) == "<|user|>Hi {{ 1 }}<|end|>"


def test_a_template_is_used_again_without_a_trace_of_the_conversation_before():
    counting = "{% set n = namespace(of=0) %}{% for m in messages %}{% set n.of = n.of + 1 %}{% endfor %}{{ n.of }}"
    turn = {"role": "user", "content": "x"}
    assert [render_chat(counting, [turn] * count) for count in (2, 3)] == ["2", "3"]
    assert render_chat(TEMPLATE, [turn], add_generation_prompt=False) == "<|user|>x<|end|>"
    assert render_chat(counting, [turn]) == "1"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", "has no chat template; use plain text"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% for %}", "does not take this conversation"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
    ],
)
def test_a_template_that_does_not_take_the_conversation_is_an_error(template, message):
    with pytest.raises(PieError, match=message):
        render_chat(template, [{"role": "user", "content": "x"}])


@given(st.text(st.sampled_from("ab\n"), max_size=20), st.lists(st.integers(0, 20), max_size=6))
def test_lines_come_as_soon_as_they_are_whole_and_the_last_at_the_end(text, cuts):
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})

    async def go():
        shown, told = "", []

        async def pieces():
            nonlocal shown
            for a, b in pairwise(places):
                shown += text[a:b]
                yield text[a:b]
                assert len(told) == shown.count("\n")

        async for line in lines(pieces()):
            told.append(line)  # noqa: PERF401 - `pieces` looks at it meanwhile
        return told

    assert asyncio.run(go()) == text.removesuffix("\n").split("\n") if text else True
