"""The program against H2O by brute force: at every step all tokens in transformers, under the mask of what is kept."""

import asyncio
import json
from importlib import resources

import pytest
import torch
from transformers import AutoTokenizer

from pie_core.testing import installed_model, run_inferlet

H2O = resources.files("pie_trait_introspective_forward") / "inferlets" / "h2o.py"
PROMPT = "Text: the silver fox carries a lamp over the old bridge near the quiet river at night\nCopy: the silver fox"


def run(*arguments):
    async def go():
        model = await installed_model("pico", "torch", dtype="float32", pages=64, embeds=128, page_size=8, threads=1)
        try:
            return await run_inferlet(H2O, arguments, models={"pico": model})
        finally:
            model.close()

    return asyncio.run(go())


def trace(*arguments):
    outcome = run("--prompt", PROMPT, "--trace", *arguments)
    assert outcome.ended.status == "finished", outcome.ended.error
    return [json.loads(line) for line in outcome.output.splitlines()]


def brute_force(reference, prompt, heavy, recent, steps):
    """(token, probability, who goes) of each step. Every token keeps the keys that it made under what it saw."""
    tokens, visible = list(prompt), torch.ones(len(prompt), len(prompt), dtype=torch.bool).tril()
    kept = list(range(len(tokens)))
    for _ in range(steps):
        weights, logits = reference.run(tokens, visible)
        scores = weights.sum((0, 1, 2))  # over layers, heads and all tokens so far, each under its own mask
        older = sorted(kept[:-recent], key=lambda at: scores[at])
        surplus = max(0, len(kept) - heavy - recent)
        gone = older[:surplus]
        if 0 < surplus < len(older):  # else there is no choice; no rounding may decide it
            assert scores[older[surplus]] - scores[older[surplus - 1]] > 1e-4
        kept = [at for at in kept if at not in gone]
        probability, token = logits[-1].softmax(-1).max(0)
        yield int(token), float(probability), sorted(gone)
        tokens.append(int(token))
        row = torch.zeros(1, len(tokens), dtype=torch.bool)
        row[0, [*kept, len(tokens) - 1]] = True
        visible = torch.cat([torch.cat([visible, torch.zeros(len(tokens) - 1, 1, dtype=torch.bool)], 1), row])
        kept.append(len(tokens) - 1)


@pytest.mark.parametrize(("heavy", "recent"), [(10, 8), (0, 12)])
def test_it_keeps_what_a_brute_force_keeps_and_says_what_that_says(pico, heavy, recent):
    lines = trace("--heavy", str(heavy), "--recent", str(recent), "--max-tokens", "12")
    assert len(lines) >= 8
    prompt = AutoTokenizer.from_pretrained(pico.path)(PROMPT, add_special_tokens=False)["input_ids"]
    for line, (token, probability, gone) in zip(
        lines, brute_force(pico, prompt, heavy, recent, len(lines)), strict=True
    ):
        assert (line["token"], line["gone"]) == (token, gone)
        assert line["probability"] == pytest.approx(probability, abs=1e-4)


def test_it_stays_in_its_pages():
    lines = trace("--heavy", "10", "--recent", "8", "--max-tokens", "40")
    assert max(line["pages"] for line in lines[1:]) <= 4  # of 8 tokens: 18 that stay, and less than a page of others


def test_with_room_for_all_nobody_goes_and_the_text_is_greedy(pico):
    lines = trace("--heavy", "1000", "--recent", "1", "--max-tokens", "12")
    assert [line["gone"] for line in lines] == [[]] * len(lines)
    prompt = AutoTokenizer.from_pretrained(pico.path)(PROMPT, return_tensors="pt", add_special_tokens=False)
    out = pico.model.generate(**prompt, do_sample=False, max_new_tokens=12)
    assert [line["token"] for line in lines] == out[0, prompt["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("arguments", [("--recent", "0"), ("--heavy", "-1"), ("--max-tokens", "0"), ("--prompt", "")])
def test_what_makes_no_sense_is_refused(arguments):
    ended = run(*arguments).ended
    assert ended.status == "failed" and "ArgumentError" in ended.error
