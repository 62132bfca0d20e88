"""What a program is told is what transformers' eager attention gives, in fp32."""

import asyncio
import json

import torch

from pie_core.testing import installed_model, run_inferlet

TOKENS = [51, 7, 300, 12, 12, 800, 41, 5, 99, 640, 3, 222, 17, 18, 500, 9, 77, 78, 640, 3]
PROGRAM = """
import json
from inferlet import *

TOKENS, SPLIT, HIDDEN, LAYERS, MASK = {values}

async def main():
    model = get_auto_model()
    q = model.create_queue()
    n = len(TOKENS)
    pages, embeds = alloc_kvpage(q, -(-n // model.kvpage_size)), alloc_emb(q, n)
    embed_txt(q, TOKENS, list(range(n)), embeds)
    told = [await forward_with_attention(q, [], embeds[:SPLIT], pages, [], None, LAYERS, True)]
    if SPLIT < n:
        if HIDDEN:
            mask_kvpage(q, pages, [place not in HIDDEN for place in range(SPLIT)])
        told.append(await forward_with_attention(q, pages, embeds[SPLIT:], pages, [], MASK, LAYERS, True))
    print(json.dumps([[t.layers, t.heads, t.columns, list(t.weights)] for t in told]))
"""


def told(path, split=None, hidden=(), layers=(), mask=None):
    """The weights of one or two passes, [layers, heads, columns] each."""
    source = PROGRAM.format(values=(TOKENS, split or len(TOKENS), list(hidden), list(layers), mask))

    async def run():
        model = await installed_model(str(path), "torch", dtype="float32", pages=16, embeds=64, page_size=8, threads=1)
        try:
            return await run_inferlet(source, models={model.info.name: model})
        finally:
            model.close()

    outcome = asyncio.run(run())
    assert outcome.ended.status == "finished", outcome.ended.error
    return [torch.tensor(values).view(*shape) for *shape, values in json.loads(outcome.output)]


def assert_near(one, other):
    assert one.shape == other.shape
    assert (one - other).abs().max() < 2e-5 * len(TOKENS)


def test_all_layers_and_heads_of_a_prompt(pico):
    weights, _ = pico.run(TOKENS)
    (all_of_it,) = told(pico.path)
    assert_near(all_of_it, weights.sum(2))


def test_chosen_layers_of_a_prompt_and_of_what_follows_it(pico):
    weights, _ = pico.run(TOKENS)
    prompt, rest = told(pico.path, split=11, layers=[6, 1])
    assert_near(prompt, weights[[6, 1], :, :11, :11].sum(2))
    assert_near(rest, weights[[6, 1], :, 11:].sum(2))


def test_tokens_that_are_hidden_later(pico):
    visible = torch.ones(len(TOKENS), len(TOKENS), dtype=torch.bool).tril()
    visible[11:, [0, 4, 9]] = False
    weights, _ = pico.run(TOKENS, visible)
    _, rest = told(pico.path, split=11, hidden=[0, 4, 9])
    assert_near(rest, weights[:, :, 11:].sum(2))


def test_an_explicit_mask_over_hidden_tokens(pico):
    torch.manual_seed(1)
    mask = torch.rand(9, len(TOKENS)) < 0.5
    mask[:, 11:] |= torch.eye(9, dtype=torch.bool)  # for transformers, which has no row that sees nothing
    visible = torch.ones(len(TOKENS), len(TOKENS), dtype=torch.bool).tril()
    visible[11:] = mask
    visible[11:, [2, 3]] = False
    weights, _ = pico.run(TOKENS, visible)
    _, rest = told(pico.path, split=11, hidden=[2, 3], mask=mask.tolist())
    assert_near(rest, weights[:, :, 11:].sum(2))


def test_windows_soft_caps_and_sinks(stranger):
    weights, _ = stranger.run(TOKENS)
    prompt, rest = told(stranger.path, split=11)
    assert_near(prompt, weights[:, :, :11, :11].sum(2))
    assert_near(rest, weights[:, :, 11:].sum(2))
