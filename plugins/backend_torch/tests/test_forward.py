"""What a forward call attends to: masks, hidden tokens, contexts in any shape. Oracle: transformers with a 4D mask."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from pie_backend_torch.building import Span, live_slots, run_pass
from pie_backend_torch.kernels import Flavour
from pie_traits_text.forward import Forward

from .conftest import ROUNDING, VOCAB, Driver

PATHS = [("llama", "lean"), ("llama", "generic"), ("gemma2", "generic"), ("deepseek_v3", "generic")]


@pytest.fixture(scope="module", params=PATHS, ids="-".join)
def driver(request: pytest.FixtureRequest, start: Any) -> Driver:
    family, implementation = request.param
    made: Driver = start(family, implementation=implementation, pages=512)
    made.family = family  # type: ignore[attr-defined]
    return made


@pytest.fixture
def stock(driver: Driver, reference: Any) -> Any:
    """logits(tokens, positions, visible [tokens, tokens], explicit) by transformers, in one pass over all tokens.

    The rows from `explicit` on have a mask of their own, which replaces the sliding window too.
    """
    model = reference(driver.family)  # type: ignore[attr-defined]

    def logits(tokens: list[int], positions: list[int], visible: torch.Tensor, explicit: int) -> torch.Tensor:
        def bias(shown: torch.Tensor) -> torch.Tensor:
            return torch.zeros(1, 1, *shown.shape).masked_fill(~shown, torch.finfo(torch.float32).min)

        mask: Any = bias(visible)
        if "sliding_attention" in (getattr(model.config, "layer_types", None) or ()):
            at = torch.tensor(positions)
            near = at[:, None] - at[None] < model.config.sliding_window
            near[explicit:] = True
            mask = {"full_attention": mask, "sliding_attention": bias(visible & near)}
        with torch.no_grad():
            out = model(
                torch.tensor([tokens]), attention_mask=mask, position_ids=torch.tensor([positions]), use_cache=False
            )
        return out.logits[0]

    return logits


def random_tokens(count: int, seed: int = 0) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(3, VOCAB) for _ in range(count)]


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return bool((ours - theirs).abs().max() < 1.5 * ROUNDING)


def causal(count: int) -> torch.Tensor:
    return torch.ones(count, count, dtype=torch.bool).tril()


def prefilled(driver: Driver, tokens: list[int], room: int) -> tuple[Any, ...]:
    pages = driver.pages_for(len(tokens) + room)
    driver.run(driver.forward(tokens, range(len(tokens)), [], pages))
    return pages


def test_a_tree_mask_gives_each_branch_its_own_path(driver: Driver, stock: Any) -> None:
    tokens, parents, depths = random_tokens(16), [-1, 0, 0, 1, 2, 2], [0, 1, 1, 2, 2, 2]
    pages = prefilled(driver, tokens[:10], 6)
    mask = torch.zeros(6, 16, dtype=torch.bool)
    mask[:, :10] = True
    for node in range(6):
        at = node
        while at >= 0:
            mask[node, 10 + at] = True
            at = parents[at]
    positions = [10 + depth for depth in depths]
    call = driver.forward(tokens[10:], positions, pages, pages, mask.tolist())
    other = driver.forward(random_tokens(6, 9), range(6), [], driver.pages(1))
    driver.run(call, other)
    visible = causal(16)
    visible[10:] = mask
    assert close(driver.logits(call), stock(tokens, [*range(10), *positions], visible, 10)[10:])


def test_a_mask_may_show_what_lies_ahead(driver: Driver, stock: Any) -> None:
    tokens = random_tokens(13, 11)
    everything = torch.ones(13, 13, dtype=torch.bool)
    call = driver.forward(tokens, range(13), [], driver.pages_for(13), everything.tolist())
    driver.run(call)
    assert close(driver.logits(call), stock(tokens, list(range(13)), everything, 0))


def test_a_sink_mask_over_a_prefill(driver: Driver, stock: Any) -> None:
    tokens, count = random_tokens(20, 1), 20
    row, column = torch.arange(count)[:, None], torch.arange(count)[None]
    mask = causal(count) & ((column < 4) | (row - column < 8))
    call = driver.forward(tokens, range(count), [], driver.pages_for(count), mask.tolist())
    driver.run(call)
    assert close(driver.logits(call), stock(tokens, list(range(count)), mask, 0))


def test_hidden_tokens_are_no_context_with_or_without_a_mask(driver: Driver, stock: Any) -> None:
    tokens = random_tokens(22, 2)
    for explicit in (False, True):
        pages = prefilled(driver, tokens[:20], 2)
        pages[0].hidden = 0b0000_1111_0011_0000
        mask = [[True] * 21 + [row == 1] for row in range(2)] if explicit else None
        call = driver.forward(tokens[20:], [20, 21], pages, pages, mask)
        driver.run(call)
        visible = causal(22)
        visible[20:, [4, 5, 8, 9, 10, 11]] = False
        assert close(driver.logits(call), stock(tokens, list(range(22)), visible, 20 if explicit else 22)[20:])


def test_a_row_that_sees_nothing_is_finite_and_disturbs_nobody(driver: Driver) -> None:
    tokens = random_tokens(12, 4)
    pages = prefilled(driver, tokens[:10], 2)
    mask = [[False] * 12, [True] * 12]
    call = driver.forward(tokens[10:], [10, 11], pages, pages, mask)
    driver.run(call)
    alone = prefilled(driver, tokens[:10], 2)
    second = driver.forward(tokens[10:], [10, 11], alone, alone, [[True] * 10 + [False] * 2, [True] * 12])
    driver.run(second)
    hidden = driver.hidden(call)
    assert hidden.isfinite().all()
    # the blind token's own layer inputs are those of a model without attention: not those of one that sees
    assert not torch.equal(hidden[0], driver.hidden(second)[0])


def test_context_may_be_given_page_by_page_with_one_token_each(driver: Driver, reference: Any) -> None:
    """The paper's loop: context kv[:i], output kv[i:i+1]; empty and partly filled pages are what they hold."""
    tokens = random_tokens(14, 5)
    pages = driver.pages(8)
    driver.run(driver.forward(tokens[:8], range(8), [], pages[:1]))
    rows = []
    for index in range(8, 14):
        used = pages[: index - 7]
        call = driver.forward([tokens[index]], [index], (*used, pages[7]), pages[index - 7 : index - 6])
        driver.run(call)
        rows.append(driver.logits(call)[0])
    model = reference(driver.family)  # type: ignore[attr-defined]
    with torch.no_grad():
        theirs = model(torch.tensor([tokens]), use_cache=False).logits[0, 8:]
    assert close(torch.stack(rows), theirs)


def test_new_tokens_see_each_other_also_when_their_pages_are_no_context(driver: Driver, reference: Any) -> None:
    tokens = random_tokens(30, 6)
    context = prefilled(driver, tokens[:16], 0)
    call = driver.forward(tokens[16:], range(16, 30), context, driver.pages(1))
    driver.run(call)
    model = reference(driver.family)  # type: ignore[attr-defined]
    with torch.no_grad():
        theirs = model(torch.tensor([tokens]), use_cache=False).logits[0, 16:]
    assert close(driver.logits(call), theirs)


def test_causality_is_by_position_not_by_the_order_of_slots(driver: Driver, stock: Any) -> None:
    tokens, positions = random_tokens(6, 7), [3, 0, 5, 1, 4, 2]
    call = driver.forward(tokens, positions, [], driver.pages(1))
    driver.run(call)
    order = torch.tensor(positions)
    assert close(driver.logits(call), stock(tokens, positions, order[None] <= order[:, None], 6))


def test_an_embedded_token_is_its_row_of_the_models_own_table(driver: Driver, reference: Any) -> None:
    tokens = random_tokens(9, 12)
    embeds = driver.embed(tokens, range(9))
    rows = driver.backend.embeds[[embed.index for embed in embeds]].cpu()
    with torch.no_grad():
        theirs = reference(driver.family).get_input_embeddings()(torch.tensor(tokens))  # type: ignore[attr-defined]
    assert torch.equal(rows, theirs) and rows.abs().max() > 0


def test_output_embeds_can_be_fed_back(driver: Driver, reference: Any) -> None:
    tokens = random_tokens(7, 9)
    pages = driver.pages_for(8)
    embeds = driver.embed(tokens, range(7))
    thought = driver.embeds(1)
    driver.run(Forward(ikv=(), iemb=embeds, okv=pages, oemb=thought))
    assert thought[0].position == 7
    call = Forward(ikv=pages, iemb=thought, okv=pages, oemb=driver.embeds(1))
    driver.run(call)
    model = reference(driver.family)  # type: ignore[attr-defined]
    with torch.no_grad():
        words = model.get_input_embeddings()(torch.tensor([tokens]))
        state = model.get_decoder()(inputs_embeds=words, use_cache=False).last_hidden_state[:, -1:]
        theirs = model(inputs_embeds=torch.cat([words, state], 1), use_cache=False).logits[0, -1:]
    assert close(driver.logits(call), theirs)


def test_who_looks_on_gets_each_layers_queries_and_changes_nothing(driver: Driver) -> None:
    tokens, pool = random_tokens(13), driver.backend.pool
    pages = prefilled(driver, tokens[:7], 6)
    first = driver.forward(tokens[7:], range(7, 13), pages, pages)
    alone = driver.forward(tokens[:3], range(3), [], driver.pages_for(3))
    driver.run(first, alone)
    plain = [driver.hidden(command) for command in (first, alone)]
    asked: list[tuple[int, torch.Tensor, Flavour]] = []
    keys: list[torch.Tensor] = []

    def watch(layer: int, query: torch.Tensor, flavour: Flavour) -> None:
        asked.append((layer, query.clone(), flavour))
        keys.append(pool.keys[layer].clone())

    again = prefilled(driver, tokens[:7], 6)
    batch = [
        driver.forward(tokens[7:], range(7, 13), again, again),
        driver.forward(tokens[:3], range(3), [], driver.pages_for(3)),
    ]
    for command in batch:
        command.prepare(driver.backend.info)
    spans = run_pass(driver.backend, batch, watch)
    assert all(torch.equal(driver.hidden(command), before) for command, before in zip(batch, plain, strict=True))
    assert [layer for layer, _, _ in asked] == list(range(len(pool.keys)))
    for (layer, query, _), held in zip(asked, keys, strict=True):
        slots = [slot for span in spans for slot in _slots(span, pool.page_size)]
        assert torch.equal(held[slots], pool.keys[layer][slots])  # complete before the layer attends
        assert query.shape[0] >= 9 and query.shape[2] == held.shape[2]


def _slots(span: Span, page_size: int) -> list[int]:
    context, _ = live_slots([span], page_size)
    return [*context.tolist(), *span.slots]
