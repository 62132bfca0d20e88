"""Attention sinks are transformers under their mask, in constant memory, past the end of the model's positions."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from .conftest import Reference
from .masks import windowed, with_sink
from .running import Look, assert_told, run
from .streams import Stream, watch

QUESTIONS = ["What is the capital of France?", "What is 7 + 5?", "Name three colours."]


def stream(
    reference: Reference, questions: Sequence[str], looks: Sequence[Look], sink: int, window: int, most: int
) -> tuple[Stream, list[str]]:
    """What the program must have run, given what it was told, and the answers."""
    text, answers, left = Stream(2048, window, sink), [], list(looks)
    end, ended = reference.tokenizer.eos_token_id, list[int]()
    for question in questions:
        text.append([*ended, *reference.encode(reference.chat(question))])
        answer: list[int] = []
        while len(answer) < most:
            text.ask()
            best = left.pop(0).best
            if best == end:
                break
            answer.append(best)
            text.append([best])
        ended = [end]
        answers.append(reference.decode(answer))
    assert not left
    return text, answers


@pytest.mark.parametrize(("page_size", "sink", "window"), [(8, 4, 8), (8, 13, 30), (16, 1, 33), (32, 4, 32)])
def test_every_distribution_is_transformers_under_the_mask(
    reference: Reference, page_size: int, sink: int, window: int
) -> None:
    arguments = ["--questions", "\n".join(QUESTIONS), "--rounds", "2", "--max-tokens", "9"]
    arguments += ["--sink", str(sink), "--window", str(window)]
    ran, looks = watch("attention_sink", *arguments, page_size=page_size)
    text, answers = stream(reference, QUESTIONS * 2, looks, sink, window, 9)
    assert_told(looks, text.logits(reference, lambda tokens: with_sink(tokens, sink, window)))
    lines = [f"{question} {answer}" for question, answer in zip(QUESTIONS * 2, answers, strict=True)]
    assert [line.rpartition(" [")[0] for line in ran.output.splitlines()] == lines


def test_without_a_sink_it_is_windowed_attention(reference: Reference) -> None:
    arguments = ["--questions", "\n".join(QUESTIONS), "--rounds", "1", "--sink", "0", "--window", "16"]
    _, looks = watch("attention_sink", *arguments)
    text, _ = stream(reference, QUESTIONS, looks, 0, 16, 24)
    assert_told(looks, text.logits(reference, lambda tokens: windowed(tokens, 16)))


def test_a_chat_of_a_hundred_windows_stays_in_its_pages(reference: Reference) -> None:
    """2400 tokens, so the model's 2048 positions end on the way."""
    rounds, sink, window = 40, 4, 24
    long = [f"Repeat: {' '.join('abcdefghijklmnop')}", *QUESTIONS[:1]]
    arguments = ["--questions", "\n".join(long), "--rounds", str(rounds), "--max-tokens", "4"]
    arguments += ["--sink", str(sink), "--window", str(window)]
    _, looks = watch("attention_sink", *arguments)
    text, _ = stream(reference, long * rounds, looks, sink, window, 4)
    assert sum(map(len, text.laps)) > 100 * window
    assert len(text.laps) == 2
    held = [look.pages for look in looks]
    assert max(held) == max(held[: len(held) // 10]) == 5  # of 8 tokens: one with the sink, four with the window
    assert_told(looks, text.logits(reference, lambda tokens: with_sink(tokens, sink, window)))


def test_a_turn_that_fits_the_window_takes_no_pass_of_its_own() -> None:
    ran, looks = watch("attention_sink", "--rounds", "1", page_size=16)
    assert ran.cost.forwards == len(looks)


def test_the_default_chat_is_answered_right_although_its_beginning_is_forgotten() -> None:
    output = run("attention_sink").output
    assert output.count("The capital of France is Paris.") == output.count("The capital of Japan is Tokyo.") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "15"], "--window 15: wanted are 16 tokens, a page, at least"),
        (["--sink", "-1"], "--sink -1: wanted are 0 tokens or more"),
        (["--sink", "2000"], "24, half of what the sink leaves of the model's range, at most"),
    ],
)
def test_what_cannot_work_is_refused(arguments: list[str], message: str) -> None:
    ended = run("attention_sink", *arguments).outcome.ended
    assert ended.status == "failed"
    assert message in (ended.error or "")
