"""Completions against transformers: texts, counts, log probabilities, stop strings, penalties, bias, seeds."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

PROMPTS = ["The capital of France is", "1 2 3 4 5", "Once upon a time there was"]


def test_texts_counts_and_reasons_are_those_of_transformers(openai, reference):
    for prompt in PROMPTS:
        expected = reference.greedy(reference.encode(prompt), 24)
        given = openai.completions.create(model="pico", prompt=prompt, temperature=0, max_tokens=24)
        (choice,) = given.choices
        assert choice.text == reference.text(expected)
        assert choice.finish_reason == ("stop" if expected[-1] == reference.end else "length")
        usage = given.usage
        assert (usage.prompt_tokens, usage.completion_tokens) == (len(reference.encode(prompt)), len(expected))
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert usage.prompt_tokens_details.cached_tokens == 0


def test_a_stream_has_the_same_text_and_counts_as_the_whole(openai):
    asked = {"model": "pico", "prompt": PROMPTS, "temperature": 0, "max_tokens": 12, "n": 2}
    whole = openai.completions.create(**asked)
    texts, reasons = Counter(), {}
    for chunk in openai.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            assert chunk.usage is None
            texts[choice.index] = (texts[choice.index] or "") + choice.text
            if choice.finish_reason is not None:
                assert choice.index not in reasons
                reasons[choice.index] = choice.finish_reason
    assert chunk.choices == [] and chunk.usage == whole.usage
    assert [texts[index] for index in range(6)] == [choice.text for choice in whole.choices]
    assert [reasons[index] for index in range(6)] == [choice.finish_reason for choice in whole.choices]


def test_prompts_may_be_tokens_and_choices_come_in_the_order_of_the_prompts(openai, reference):
    texts = openai.completions.create(model="pico", prompt=PROMPTS, temperature=0, max_tokens=8, n=2)
    tokens = [reference.encode(prompt) for prompt in PROMPTS]
    listed = openai.completions.create(model="pico", prompt=tokens, temperature=0, max_tokens=8, n=2)
    assert [choice.text for choice in listed.choices] == [choice.text for choice in texts.choices]
    assert [choice.index for choice in texts.choices] == list(range(6))
    assert listed.choices[2].text == listed.choices[3].text == reference.text(reference.greedy(tokens[1], 8))
    alone = openai.completions.create(model="pico", prompt=tokens[1], temperature=0, max_tokens=8)
    assert alone.choices[0].text == listed.choices[2].text


def test_the_prompt_is_echoed_if_that_is_asked_for(openai, reference):
    for prompt in (PROMPTS[0], reference.encode(PROMPTS[0])):
        told = openai.completions.create(model="pico", prompt=prompt, temperature=0, max_tokens=0, echo=True)
        assert told.choices[0].text == PROMPTS[0]
        assert (told.usage.completion_tokens, told.choices[0].finish_reason) == (0, "length")


@pytest.mark.parametrize("streamed", [False, True])
def test_log_probabilities_are_those_of_transformers(openai, reference, streamed):
    prompt = reference.encode(PROMPTS[0])
    asked = {"model": "pico", "prompt": prompt, "temperature": 0, "max_tokens": 10, "logprobs": 3}
    tokens = reference.greedy(prompt, 10)
    expected = reference.logprobs(prompt + tokens)[len(prompt) - 1 :]
    shown = [token for token in tokens if token != reference.end]
    if streamed:
        told = [c.choices[0].logprobs for c in openai.completions.create(**asked, stream=True)]
        told = [one for one in told if one is not None]
        names, values = [n for t in told for n in t.tokens], [v for t in told for v in t.token_logprobs]
        tops = [top for t in told for top in t.top_logprobs]
        offsets = [offset for t in told for offset in t.text_offset]
    else:
        told = openai.completions.create(**asked).choices[0].logprobs
        names, values, tops, offsets = told.tokens, told.token_logprobs, told.top_logprobs, told.text_offset
    assert "".join(names) == reference.text(tokens)
    assert values == pytest.approx([expected[at, token].item() for at, token in enumerate(shown)], abs=2e-3)
    assert offsets == [len("".join(names[:at])) for at in range(len(names))]
    for at, top in enumerate(tops):
        best = expected[at].topk(3).values.tolist()
        assert sorted(top.values(), reverse=True) == pytest.approx(best, abs=2e-2, rel=2e-2)


def test_a_stop_string_ends_the_text_wherever_tokens_end(openai, reference):
    tokens = reference.greedy(reference.encode(PROMPTS[2]), 24)
    text = reference.text(tokens)
    for first in range(1, len(text) - 4, 7):
        stop = text[first : first + 4]
        at = text.index(stop)
        asked = {"model": "pico", "prompt": PROMPTS[2], "temperature": 0, "max_tokens": 24, "stop": ["\0none", stop]}
        (choice,) = openai.completions.create(**asked).choices
        assert (choice.text, choice.finish_reason) == (text[:at], "stop")
        if first < 12:
            pieces = [c.choices[0].text for c in openai.completions.create(**asked, stream=True)]
            assert "".join(pieces) == text[:at]


def test_a_seed_gives_the_same_text_and_choices_differ(openai):
    asked = {"model": "pico", "prompt": "a", "temperature": 1.5, "max_tokens": 10, "n": 4}
    one, two = (openai.completions.create(**asked, seed=7) for _ in range(2))
    texts = [choice.text for choice in one.choices]
    assert texts == [choice.text for choice in two.choices]
    assert len(set(texts)) > 1
    other = openai.completions.create(**asked, seed=1234567)
    assert texts != [choice.text for choice in other.choices]


@pytest.mark.parametrize(
    "more", [{}, {"logprobs": 1}, {"top_p": 0.8}, {"top_p": 0.8, "logprobs": 0}, {"extra_body": {"top_k": 5}}]
)
def test_a_low_temperature_is_greedy_on_every_way_to_draw(openai, reference, more):
    expected = reference.text(reference.greedy(reference.encode(PROMPTS[1]), 16))
    cold = openai.completions.create(model="pico", prompt=PROMPTS[1], temperature=0.01, max_tokens=16, seed=1, **more)
    assert cold.choices[0].text == expected


def nucleus(logits, top_p):
    best, order = torch.softmax(logits.topk(256).values, -1), logits.topk(256).indices.tolist()
    return set(order[: int((best.cumsum(-1) < top_p).sum()) + 1])


def test_the_nucleus_is_of_what_the_temperature_leaves(openai, reference):
    """Each token drawn is among the fewest whose tempered probability reaches `top_p`, and not only the untempered."""
    hot = 2.0
    prompt, kept, cold, top_p = next(
        (prompt, kept, cold, top_p)
        for prompt in map(reference.encode, ["a", "The", "I", "x", "1", *PROMPTS])
        for logits in [reference.logprobs(prompt)[-1]]
        for top_p in (0.5, 0.7, 0.9, 0.97)
        for kept, cold in [(nucleus(logits / hot, top_p), nucleus(logits, top_p))]
        if len(cold) + 3 < len(kept) < 40
    )
    asked = {"model": "pico", "prompt": prompt, "temperature": hot, "top_p": top_p, "max_tokens": 1, "n": 64, "seed": 3}
    told = openai.completions.create(**asked, logprobs=0)
    shown = {bytes(reference.text([token]), "utf-8"): token for token in kept}
    drawn = {choice.logprobs.tokens[0] for choice in told.choices if choice.logprobs.tokens}
    assert {text.encode() for text in drawn} <= set(shown)
    assert len(drawn) > len(cold)
    plain = openai.completions.create(**asked)
    assert [choice.text for choice in plain.choices] == [choice.text for choice in told.choices]


def test_penalties_and_bias_choose_what_transformers_logits_say(openai, reference):
    prompt = reference.encode(PROMPTS[1])
    top = reference.logprobs(prompt)[-1].topk(3)
    (best, second, third), (first, _, last) = top.values.tolist(), top.indices.tolist()
    up, down = {last: best - third + 1.0}, {first: max(second - best - 1.0, -100.0), last: -100.0}
    cases = ((1.5, 0.7, {}), (-1.0, -0.5, {}), (0.0, 0.0, up), (0.0, 0.0, down), (0.4, 0.3, up))
    for presence, frequency, biased in cases:
        tokens, counts = list(prompt), Counter()
        while len(tokens) < len(prompt) + 6:
            logits = reference.logprobs(tokens)[-1]
            for token, value in biased.items():
                logits[token] += value
            for token, count in counts.items():
                logits[token] -= presence + frequency * count
            token = int(logits.argmax())
            if token == reference.end:
                break
            counts[token] += 1
            tokens.append(token)
        given = openai.completions.create(
            model="pico",
            prompt=prompt,
            temperature=0,
            max_tokens=6,
            presence_penalty=presence,
            frequency_penalty=frequency,
            logit_bias={str(token): value for token, value in biased.items()},
        )
        assert given.choices[0].text == reference.text(tokens[len(prompt) :])


def test_a_banned_token_never_comes_and_a_promoted_one_always_does(openai, reference):
    (token,) = reference.encode("Q")[-1:]
    asked = {"model": "pico", "prompt": "a", "temperature": 1, "max_tokens": 6, "seed": 5}
    wanted = openai.completions.create(**asked, logit_bias={str(token): 100})
    assert wanted.choices[0].text == reference.text([token] * 6)


def test_the_end_token_can_be_ignored(openai, reference):
    prompt = reference.encode(PROMPTS[0])
    assert reference.greedy(prompt, 30)[-1] == reference.end, "the model must want to end"
    expected = reference.greedy(prompt, 30, eos_token_id=10**6)
    given = openai.completions.create(
        model="pico", prompt=prompt, temperature=0, max_tokens=30, extra_body={"ignore_eos": True}
    )
    assert given.usage.completion_tokens == 30
    assert (given.choices[0].finish_reason, given.choices[0].text) == ("length", reference.text(expected))


def test_an_answer_ends_where_the_model_does(openai, reference):
    most = reference.model.config.get_text_config().max_position_embeddings
    prompt = (reference.encode("a b ") * most)[: most - 3]
    given = openai.completions.create(
        model="pico", prompt=prompt, temperature=0, max_tokens=50, extra_body={"ignore_eos": True}
    )
    assert (given.usage.completion_tokens, given.choices[0].finish_reason) == (3, "length")
