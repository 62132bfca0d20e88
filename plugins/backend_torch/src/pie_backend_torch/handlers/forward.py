"""Trait `forward`: a batch of calls of any mix of lengths becomes one pass over the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from pie_traits_text.forward import Forward, ForwardWithAdapter

from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.direct import DirectSteps
from pie_backend_torch.kernels import PlansSteps, Watch
from pie_backend_torch.step import Bools, Ints, Span, build_step
from pie_backend_torch.token_passes import TokenPasses
from pie_backend_torch.watching import WatchedPlan

if TYPE_CHECKING:
    from pie_backend_torch.ahead.steps import StepsAhead


class ForwardHandler:
    """Reads Embeds, runs the model over the pool, writes hidden states to Embeds.

    An explicit mask replaces causality and, where the model has one, the sliding window: what it shows is seen.
    """

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend
        attention = backend.decoder.kernels.attention
        self._steps: StepsAhead | None = None  # if there are any
        self._token_passes = TokenPasses(backend, attention) if isinstance(attention, PlansSteps) else None

    def forward(self, batch: Sequence[Forward | ForwardWithAdapter]) -> None:
        if self._steps is not None and any(len(one.iemb) == 1 for one in batch):
            self._steps.beside()
        if self._token_passes is not None and self._token_passes.takes(batch):
            self._token_passes.run(batch)
        else:
            run_pass(self._backend, batch)

    forward_with_adapter = forward  # they come mixed, in one batch

    def open_steps(self) -> StepsAhead | DirectSteps:
        """See `pie_traits_decode.own_steps.OwnSteps`: ahead of the host where it would be in the way, as on a GPU."""
        from pie_backend_torch.ahead.steps import StepsAhead

        decoder = self._backend.decoder
        if decoder.device.type == "cuda" or isinstance(decoder.kernels.attention, PlansSteps):
            self._steps = StepsAhead(self._backend)
            return self._steps
        return DirectSteps(self._backend)


@torch.inference_mode()
def run_pass(
    backend: TorchBackend, batch: Sequence[Forward | ForwardWithAdapter], watch: Watch | None = None
) -> Sequence[Span]:
    """Run planned commands as one pass over the model, on the device thread; what each of them was, in physical terms.

    The rows of a pass are the tokens of its commands, command after command. A trait of another package that runs the
    model, too, declares its command as a subclass of `Forward` and passes it here.

    watch: told of each layer's queries; the spans say which tokens of the pool they look at.
    """
    decoder, pool, embeds = backend.decoder, backend.pool, backend.embeds
    size = pool.page_size
    spans: list[Span] = []
    read: list[int] = []
    written: list[int] = []
    rows: list[int] = []
    adapted: dict[str, list[int]] = {}
    for command in batch:
        spans.append(span_of(command, size))
        read += [embed.index for embed in command.iemb]
        written += [embed.index for embed in command.oemb]
        rows += range(len(read) - len(command.oemb), len(read))
        if command.adapter is not None:
            adapted.setdefault(command.adapter, []).extend(range(len(read) - len(command.iemb), len(read)))
    places = backend.places
    attention, indices = decoder.kernels.attention, (read, written, rows)
    step = build_step(attention, spans, size, decoder.device, indices, ordered=places is not None)
    source, target, out = step.extra
    if places is not None:
        step.orders = places.orders.index_select(0, source)
        step.axes = None if places.axes is None else places.axes.index_select(0, source)
    step.place(pool)
    if watch is not None:
        step.plan = WatchedPlan(step.plan, watch)
    with backend.selection.of(adapted):
        hidden = decoder.hidden(embeds.index_select(0, source), step, pool)
    if written:
        embeds.index_copy_(0, target, hidden if len(rows) == step.count else hidden.index_select(0, out))
        if places is not None:
            places.put_text(target, step.positions.index_select(0, out) + 1)
    return spans


def span_of(command: Forward | ForwardWithAdapter, size: int) -> Span:
    """A planned command in physical terms."""
    okv = command.okv
    return Span(
        pages=[page.index for page in command.ikv],
        live=command.live,
        slots=[okv[place].index * size + slot for place, slot in command.slots],
        positions=command.positions,
        mask=None if command.mask is None else _visible(command, size),
    )


def _visible(command: Forward | ForwardWithAdapter, size: int) -> Bools:
    """The mask over live context tokens and new ones: what the guest gave, without the columns of hidden tokens."""
    mask = command.mask
    assert mask is not None
    given = np.frombuffer(mask.data, dtype=np.bool_).reshape(mask.rows, mask.cols)
    held, live = _bits(command.held, size), _bits(command.live, size)
    shown = np.concatenate([live[held], np.ones(mask.rows, dtype=np.bool_)])
    return given if shown.all() else given[:, shown]


def _bits(masks: Sequence[int], size: int) -> Bools:
    """[pages, slots] bool."""
    values: Ints = np.array(masks, dtype=np.int64).reshape(-1, 1)
    return ((values >> np.arange(size)) & 1).astype(np.bool_)
