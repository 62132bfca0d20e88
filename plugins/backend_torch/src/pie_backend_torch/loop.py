"""A monolithic greedy loop over a loaded backend, without inferlets, queues or Embeds: the yardstick for benchmarks.

    backend = load(spec, TorchOptions(), progress)
    tokens = greedy(backend, prompts, steps=64)

It runs what the handlers run (`build_step`, `Decoder`, the same pool) and nothing else, so the difference between this
and the same work driven by inferlets is what serving programs costs. Only for a backend that nobody else uses: it
takes pages from the bottom of the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.step import Span, build_step
from pie_core.errors import ResourceError


@torch.inference_mode()
def greedy(
    backend: TorchBackend,
    prompts: Sequence[Sequence[int]],
    steps: int,
    after_step: Callable[[], None] | None = None,
) -> list[list[int]]:
    """`steps` most probable tokens for each prompt of token ids, all prompts in one batch, no early end.

    `after_step` is called when the tokens of a step are known, the prefill's first. Raises `ResourceError` if the pool
    is too small.
    """
    decoder, pool = backend.decoder, backend.pool
    tables = _tables(backend, [len(prompt) + steps for prompt in prompts])
    ends = [0] * len(prompts)
    rows = [list(prompt) for prompt in prompts]
    found: list[list[int]] = [[] for _ in prompts]
    for _ in range(steps):
        spans = [
            _span(table, pool.page_size, end, len(row)) for table, end, row in zip(tables, ends, rows, strict=True)
        ]
        ends = [end + len(row) for end, row in zip(ends, rows, strict=True)]
        lasts = [index - 1 for index in _sums(rows)]
        indices = ([token for row in rows for token in row], lasts)
        step = build_step(decoder.kernels.attention, spans, pool.page_size, decoder.device, indices)
        step.place(pool)
        ids, last = step.extra
        hidden = decoder.hidden(decoder.embed(ids), step, pool)
        tokens = decoder.logits(hidden.index_select(0, last)).max(-1).indices.tolist()
        rows = [[token] for token in tokens]
        for made, token in zip(found, tokens, strict=True):
            made.append(token)
        if after_step is not None:
            after_step()
    return found


def _tables(backend: TorchBackend, lengths: Sequence[int]) -> list[range]:
    """Consecutive pages for sequences of these lengths."""
    size, tables, used = backend.pool.page_size, [], 0
    for length in lengths:
        pages = -(-length // size)
        tables.append(range(used, used + pages))
        used += pages
    if used > backend.pool.pages:
        raise ResourceError(f"greedy: {used} pages are needed, the pool has {backend.pool.pages}; raise --option pages")
    return tables


def _span(table: range, size: int, start: int, count: int) -> Span:
    pages = table[: -(-start // size)]
    live = [(1 << size) - 1] * len(pages)
    if start % size:
        live[-1] = (1 << start % size) - 1
    first = table.start * size + start
    return Span(pages, live, range(first, first + count), range(start, start + count))


def _sums(rows: Sequence[Sequence[int]]) -> list[int]:
    total, sums = 0, []
    for row in rows:
        total += len(row)
        sums.append(total)
    return sums
