"""The trait on the torch backend: one pass that is looked on at, then the weights of the layers that are wanted."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from pie_backend_torch.building import KvPool, Span, TorchBackend, live_slots, run_pass
from pie_backend_torch.kernels import Flavour
from torch import Tensor

from pie_core import ArgumentError
from pie_trait_introspective_forward.declaration import Attention, ForwardWithAttention
from pie_trait_introspective_forward.weights import attention_weights

MOST_WEIGHTS = 1 << 24  # of one launch, 64 MiB; the tokens of a longer call take turns


class Queries:
    """Keeps what the wanted layers ask, while the pass goes on (`pie_backend_torch.kernels.Watch`)."""

    def __init__(self, layers: set[int]) -> None:
        self._layers = layers
        self.asked: dict[int, tuple[Tensor, Flavour]] = {}

    def __call__(self, layer: int, query: Tensor, flavour: Flavour) -> None:
        if layer in self._layers:
            self.asked[layer] = query.clone(), flavour


class IntrospectiveForwardHandler:
    """Device thread. Each command's weights are computed alone, so they do not depend on its company."""

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend

    @torch.inference_mode()
    def forward_with_attention(self, batch: Sequence[ForwardWithAttention]) -> list[Attention]:
        """Nothing has run if a layer is not there."""
        wanted = [self._layers(command) for command in batch]
        queries = Queries({layer for layers in wanted for layer in layers})
        spans = run_pass(self._backend, batch, queries)
        told, row = [], 0
        for command, layers, span in zip(batch, wanted, spans, strict=True):
            rows = slice(row, row + len(span.slots))
            asked = [(layer, query[rows], flavour) for layer, (query, flavour) in _of(queries, layers)]
            told.append(self._tell(command, span, asked))
            row = rows.stop
        return told

    def _layers(self, command: ForwardWithAttention) -> Sequence[int]:
        count = len(self._backend.pool.keys)
        for layer in command.layers:
            if layer >= count:
                raise ArgumentError(
                    f"forward_with_attention: there is no layer {layer}; those of {self._backend.info.name!r} are "
                    f"0 to {count - 1}"
                )
        return command.layers or range(count)

    def _tell(
        self, command: ForwardWithAttention, span: Span, asked: Sequence[tuple[int, Tensor, Flavour]]
    ) -> Attention:
        pool = self._backend.pool
        context, _ = live_slots([span], pool.page_size)
        own = torch.tensor(span.slots, device=pool.positions.device)
        slots = torch.cat([torch.from_numpy(context).to(own.device), own])
        shown = _shown(command, pool.page_size)
        sums = []
        for layer, query, flavour in asked:
            visible = _visible(span, pool, slots, own, flavour.window)
            got = _added_up(query, pool.keys[layer].index_select(0, slots), visible, flavour)  # [heads, live columns]
            whole = got.new_zeros(got.shape[0], len(shown))
            whole[:, torch.from_numpy(shown).to(own.device)] = got
            sums.append(whole if command.per_head else whole.sum(0, keepdim=True))
        weights = torch.stack(sums).cpu()
        layers, heads, columns = weights.shape
        return Attention(layers, heads, columns, array("f", weights.numpy().tobytes()))


def _of(queries: Queries, layers: Sequence[int]) -> Iterator[tuple[int, tuple[Tensor, Flavour]]]:
    return ((layer, queries.asked[layer]) for layer in layers)


def _shown(command: ForwardWithAttention, page_size: int) -> np.ndarray:
    """[columns] whether the token of a column can be seen at all: hidden ones cannot."""
    pages = np.array([command.held, command.live], dtype=np.int64)[..., None]
    held, live = ((pages >> np.arange(page_size)) & 1).astype(bool)
    return np.concatenate([live[held], np.ones(len(command.iemb), dtype=bool)])


def _visible(span: Span, pool: KvPool, slots: Tensor, own: Tensor, window: int | None) -> Tensor:
    """[tokens, live columns] who sees whom. An explicit mask replaces causality and window."""
    if span.mask is not None:
        return torch.tensor(span.mask, device=slots.device)
    order = pool.positions if pool.orders is None else pool.orders  # of a model that sees images as wholes
    visible = order[slots] <= order[own, None]
    if window is not None:
        visible &= pool.positions[own, None] - pool.positions[slots] < window
    return visible


def _added_up(query: Tensor, keys: Tensor, visible: Tensor, flavour: Flavour) -> Tensor:
    """The weights of all tokens, added up, [heads, columns]."""
    most = max(1, MOST_WEIGHTS // (query.shape[1] * keys.shape[0]))
    parts = zip(torch.split(query, most), torch.split(visible, most), strict=True)
    return torch.stack([attention_weights(some, keys, seen, flavour).sum(1) for some, seen in parts]).sum(0)
