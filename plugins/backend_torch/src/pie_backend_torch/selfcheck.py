"""Proof at load that a model means the same over pages as over its own stock attention, on its own weights.

Two sequences are run as a server would: a ragged prefill over scattered pages, then single decode steps. Hidden states
and scores must equal those of the unmodified model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pie_backend_torch.memory import ran_out
from pie_backend_torch.pool import KvPool
from pie_backend_torch.step import Span, build_step
from pie_core.errors import UnsupportedError

if TYPE_CHECKING:
    from pie_backend_torch.decoder import Decoder

LENGTHS = (21, 13)  # tokens
DECODED = 3  # of them, one at a time
PAGE, PAGES = 8, 12
TOLERANCE = {torch.float32: 1e-3}  # of the largest number; rounding makes up to 1e-5
HALF_TOLERANCE = 0.1


@dataclass(frozen=True)
class Reference:
    """What the stock model says: ids [tokens], hidden [tokens, hidden], logits [tokens, vocab] per sequence."""

    ids: list[Tensor]
    hidden: list[Tensor]
    logits: list[Tensor]


def take_reference(model: Any, decoder: Any, device: torch.device) -> Reference:
    """Run the unmodified model. Raises `UnsupportedError` if it does not run like a causal LM."""
    generator = torch.Generator().manual_seed(7)
    vocab = int(model.config.get_text_config().vocab_size)
    ids = [torch.randint(0, vocab, (length,), generator=generator).to(device) for length in LENGTHS]
    try:
        hidden = [decoder(input_ids=row[None], use_cache=False).last_hidden_state[0].float() for row in ids]
        logits = [model(input_ids=row[None], use_cache=False).logits[0].float() for row in ids]
    except (TypeError, AttributeError, RuntimeError, ValueError, IndexError) as error:
        if ran_out(error):
            raise
        raise UnsupportedError(f"it does not run by itself ({type(error).__name__}: {error})") from error
    return Reference(ids, hidden, logits)


def check_against(reference: Reference, decoder: Decoder) -> None:
    """Raise `UnsupportedError` with the difference if the paged model says anything else."""
    states = _run_paged(reference.ids, decoder)
    limit = TOLERANCE.get(decoder.dtype, HALF_TOLERANCE)
    for ours, theirs, scores in zip(states, reference.hidden, reference.logits, strict=True):
        for what, got, wanted in (("hidden states", ours.float(), theirs), ("scores", decoder.logits(ours), scores)):
            error = ((got - wanted).abs().max() / wanted.abs().max().clamp_min(1e-6)).item()
            if not error <= limit:  # also if it is NaN
                raise UnsupportedError(
                    f"its {what} over pages differ from its own by {error:.1e} of the largest (up to {limit:.0e} is "
                    "rounding); its attention does something that pages do not know"
                )


def _run_paged(ids: list[Tensor], decoder: Decoder) -> list[Tensor]:
    """Hidden states [tokens, hidden] of each sequence: a ragged prefill, then decode steps over scattered pages."""
    pool = KvPool(decoder.layers, PAGES, PAGE, decoder.dtype, decoder.device)
    tables = [[7, 2, 9], [4, 11]]
    slots = [[page * PAGE + offset for page in table for offset in range(PAGE)] for table in tables]
    parts: list[list[Tensor]] = [[] for _ in ids]
    starts = [0] * len(ids)
    for step_index in range(DECODED + 1):
        ends = [len(row) - DECODED + step_index for row in ids]
        spans = [
            Span(table, _live(start, len(table)), of[start:end], range(start, end))
            for table, of, start, end in zip(tables, slots, starts, ends, strict=True)
        ]
        step = build_step(decoder.kernels.attention, spans, PAGE, decoder.device)
        step.place(pool)
        new = torch.cat([row[start:end] for row, start, end in zip(ids, starts, ends, strict=True)])
        out = decoder.hidden(decoder.embed(new), step, pool)
        at = 0
        for part, start, end in zip(parts, starts, ends, strict=True):
            part.append(out[at : at + end - start])
            at += end - start
        starts = ends
    return [torch.cat(part) for part in parts]


def _live(count: int, pages: int) -> list[int]:
    """The bit mask of each of `pages` pages that hold `count` tokens from the bottom."""
    whole = (1 << PAGE) - 1
    return [(1 << min(PAGE, max(0, count - page * PAGE))) - 1 & whole for page in range(pages)]
