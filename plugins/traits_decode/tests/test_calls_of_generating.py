"""How many calls and passes an answer takes, and when its tokens are shown, made ahead and taken back."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest
from pie_traits_decode.testing.answering import Answering, program
from pie_traits_text.forward import Forward

from .asking import SAMPLERS, WITH, WITHOUT, finished


def test_many_tokens_take_one_call_and_as_many_passes() -> None:
    (_, took), (_, takes) = (finished("await context.generate(stop=max_tokens(9))", which) for which in (WITH, WITHOUT))
    assert took["passes"] == takes["passes"] and took["decode"] == 1
    assert took["forward"] == takes["forward"] - 8 and took["get_next_dist"] == takes["get_next_dist"] - 9


@pytest.mark.parametrize(("most", "calls"), [(256, 1), (300, 3)])  # of 32, 64 and 204 tokens
def test_all_that_is_left_is_drawn_by_one_call_if_that_is_not_much(most: int, calls: int) -> None:
    _, took = finished(f"await context.generate(stop=max_tokens({most}))", WITH, "to be" * 70)
    assert took["decode"] == calls and took["passes"] >= most


def test_with_a_pattern_of_attention_one_call_takes_64_tokens() -> None:
    body = """
context.attention = lambda at: [range(max(0, at - 4), at + 1)]
await context.generate(stop=max_tokens(140))
"""
    (_, took), (_, takes) = (finished(body, which, "to be" * 40) for which in (WITH, WITHOUT))
    assert took["passes"] == takes["passes"] and took["decode"] == 3  # of 32, 64 and 44 tokens
    assert "sample" not in took


def test_a_condition_that_only_the_program_knows_takes_one_draw_and_one_pass_a_token() -> None:
    body = "await context.generate(stop=lambda tokens, text: len(tokens) == 9)"
    (_, took), (_, takes) = finished(body, WITH), finished(body, WITHOUT)
    assert took["passes"] == takes["passes"] and took["sample"] == 9 and "decode" not in took


def test_the_first_token_of_a_stream_is_waited_for_alone() -> None:
    body = """
async for piece in context.stream(stop=max_tokens(20)):
    said.append(piece)
"""
    assert finished(body, WITH, "It takes a very long while until it ends")[1]["decode"] == 2  # of 1 and 19 tokens


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """What a program finds under this name, and says to the test by it."""
    event = threading.Event()
    monkeypatch.setattr(builtins, "shown", event, raising=False)
    return event


def passes_of_a_run_held_up(body: str, answer: str, at: int, until: threading.Event) -> int:
    """How many passes a program took; that one is not run before the event is set."""
    with closing(Answering(WITH, answer=answer)) as model:
        handler: Any = model.model.realization.routes[Forward].__self__  # type: ignore[attr-defined]
        forward = handler.forward

        def waiting(batch: Sequence[Any]) -> None:
            if len(model.passes) >= at:
                assert until.wait(20)
            forward(batch)

        handler.forward = waiting
        model.finished(program(body))
        return len(model.passes)


def test_tokens_of_a_call_are_shown_while_it_draws_more(shown: threading.Event) -> None:
    """The 14th token is drawn once the 8th is shown, though the 2nd to the 20th come by one call."""
    body = """
async for piece in context.stream(stop=max_tokens(20)):
    said.append(piece)
    if len(said) == 8:
        shown.set()
"""
    passes_of_a_run_held_up(body, "It takes a very long while until it ends", 14, shown)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_tokens_that_came_while_nobody_looked_are_one_piece(sampler: str) -> None:
    body = f"""
async for piece in context.stream({sampler}, max_tokens(20), together=True):
    said.append(piece)
    await asyncio.sleep(0.1)
said = ["".join(said), len(said), len(context.tokens), (await context.next_dist(3)).ids]
"""
    answer = "It takes a very long while until it ends"
    (told, _), (tells, _) = (finished(body, which, answer) for which in (WITH, WITHOUT))
    assert told[0] == tells[0] and told[2:] == tells[2:]
    assert told[1] < tells[1]


def test_a_call_whose_tokens_nobody_wants_any_more_ends(shown: threading.Event) -> None:
    """The second one would draw 119 tokens. After 30 of them the program goes another way."""
    body = """
async for piece in context.stream(stop=max_tokens(120)):
    said.append(piece)
    if len(said) == 30:
        break
context.truncate(len(context.tokens) - 1)
shown.set()
"""
    assert passes_of_a_run_held_up(body, "to be " * 50, 60, shown) < 90


def test_the_next_call_is_made_before_tokens_are_given_and_what_nobody_takes_is_taken_back() -> None:
    body = """
async for piece in context.stream(stop=max_tokens(12)):
    said.append(piece)
    break
context.truncate(len(context.tokens) - 1)
said.append(await context.generate(stop=max_tokens(3)))
said.append(len(context.tokens))
"""
    answer = "It takes a very long while " * 3
    drawn, took = finished(body, WITH, answer)
    assert drawn == finished(body, WITHOUT, answer)[0]
    assert took["decode"] == 3  # of 1 token, of 11 ahead, of 3


def test_where_there_is_room_for_few_tokens_so_many_are_drawn_as_fit() -> None:
    """Five pages of 4, of which the prompt takes 11 slots: the second call asks for 64 more, then for 32, 16, 8."""
    body = """
async for piece in context.stream():
    said.append(piece)
    if len(said) == 9:
        break
context.truncate(8)
"""
    answer = "It takes a very long while until it ends"
    drawn, took = finished(body, WITH, answer, pages=5)
    assert drawn == finished(body, WITHOUT, answer, pages=5)[0]
    assert took["decode"] == 2  # of 1 and 8 tokens
