"""A batch of forward calls as index tensors: built on the host in one go, moved in one copy, shared by all layers.

The context of a call is gathered into a dense row of slots: its live context tokens, then its own new ones, padded to
a width that depends on the call alone. Calls with equal numbers of tokens and equal width form a group, attended to by
one launch. Since a call's shapes never depend on its neighbours, neither do its results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pie_backend_torch.pool import KvPool
from pie_backend_torch.upload import upload

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
LANE = 32  # slots; the narrowest step of padded widths


@dataclass(slots=True)
class Span:
    """One forward call, in physical terms."""

    pages: Sequence[int]  # context pages
    live: Sequence[int]  # for each of them, the bit mask of the slots that are context
    slots: Sequence[int]  # for each new token, the slot its key and value go to
    positions: Sequence[int]  # for each new token
    mask: Bools | None = None  # [tokens, live context tokens + tokens]; replaces causality by position


@dataclass(slots=True)
class Group:
    """Calls of one shape. `n` calls of `tokens` new tokens over `width` gathered slots each."""

    n: int
    tokens: int
    width: int  # 0: no context and causal in order; the step's own keys are attended to, nothing is gathered
    rows: Tensor | None  # [n * tokens] rows of the step; None: all of them, in order
    context: Tensor  # [n * width] slots
    lengths: Tensor  # [n] how many of `width` are real
    mask: Tensor | None = None  # [n, tokens, width] bool, explicit
    blind: Tensor | None = None  # [n * tokens, 1, 1] bool: rows whose explicit mask shows nothing
    queries: Tensor | None = None  # [n, tokens, 1] positions; set with `keys` when the step is placed on the pool
    keys: Tensor | None = None  # [n, 1, width] positions
    asked: Tensor | None = None  # the same of orders, in models that have them: who sees whom, where that is not told
    shown: Tensor | None = None  # by positions (see `places`)
    biases: dict[int | None, Tensor] = field(default_factory=dict)  # by sliding window


@dataclass(slots=True)
class Step:
    """What one pass over the model needs to know. `extra` are the caller's own indices, moved in the same copy."""

    count: int  # tokens
    highest: int  # position
    positions: Tensor  # [tokens]
    slots: Tensor  # [tokens]
    groups: list[Group]
    extra: list[Tensor]
    orders: Tensor | None = None  # [tokens], in models that have them
    axes: Tensor | None = None  # [tokens, axes] rotary positions, in models that have several

    def place(self, pool: KvPool, dtype: torch.dtype) -> None:
        """Write the new tokens' positions to the pool and read those of every context. Once, before the layers."""
        pool.positions.index_copy_(0, self.slots, self.positions)
        if pool.orders is not None:
            assert self.orders is not None
            pool.orders.index_copy_(0, self.slots, self.orders)
        for group in self.groups:
            if group.width == 0:
                continue
            group.queries, group.keys = _placed(group, self.positions, pool.positions)
            if pool.orders is not None and self.orders is not None:
                group.asked, group.shown = _placed(group, self.orders, pool.orders)
            group.biases[None] = _bias(group, None, dtype)

    def bias(self, group: Group, window: int | None) -> Tensor:
        """What is added to the scores, [n, 1, tokens, width]: 0 where a token may attend, -inf where it may not."""
        bias = group.biases.get(window)
        if bias is None:
            bias = group.biases[window] = _bias(group, window, group.biases[None].dtype)
        return bias


def _placed(group: Group, own: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
    """What stands in the pool of a group's queries [n, tokens, 1] and keys [n, 1, width]."""
    mine = own if group.rows is None else own.index_select(0, group.rows)
    return mine.view(group.n, group.tokens, 1), pool.index_select(0, group.context).view(group.n, 1, group.width)


def _bias(group: Group, window: int | None, dtype: torch.dtype) -> Tensor:
    assert group.queries is not None and group.keys is not None
    if group.mask is not None:
        visible = group.mask
    else:
        visible = _at_or_before(group)
        columns = torch.arange(group.width, device=group.keys.device)
        visible &= columns < group.lengths.view(-1, 1, 1)
        if window is not None:
            visible &= group.queries - group.keys < window
    bias = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return bias.masked_fill_(~visible, float("-inf")).unsqueeze(1)


def _at_or_before(group: Group) -> Tensor:
    """[n, tokens, width] whether a query may see a key."""
    assert group.queries is not None and group.keys is not None
    if group.asked is None or group.shown is None:
        return group.keys <= group.queries
    return group.shown <= group.asked


def padded(length: int) -> int:
    """The width that `length` slots are padded to: at most two widths per power of two, all multiples of a lane."""
    step = max(LANE, 1 << max(0, (length - 1).bit_length() - 2))
    return -(-length // step) * step


def build_step(
    spans: Sequence[Span],
    page_size: int,
    device: torch.device,
    extra: Sequence[Sequence[int]] = (),
    ordered: bool = False,
) -> Step:
    """Index tensors of a batch of calls. Cost: some 100 us a batch and a few us a call.

    ordered: positions do not tell who sees whom, so that orders are needed (`Step.orders`) before it is placed.
    """
    tokens = [len(span.slots) for span in spans]
    slots = np.array(list(chain.from_iterable([span.slots for span in spans])), dtype=np.int64)
    positions = np.array(list(chain.from_iterable([span.positions for span in spans])), dtype=np.int64)
    context, lengths = _live_slots(spans, page_size)
    order = _grouped(spans, tokens, lengths.tolist(), ordered)
    flat, used = _flat(order, tokens, slots, context, lengths)
    starts = np.cumsum([0, *tokens])
    pieces: list[Ints] = [positions, slots, *(np.array(piece, dtype=np.int64) for piece in extra)]
    at = 0
    for (count, width, _), members in order.items():
        whole = len(members) == len(spans)
        pieces.append(_NONE if whole else (starts[members][:, None] + np.arange(count)).reshape(-1))
        pieces.append(flat[at : at + width * len(members)])
        pieces.append(used[members])
        at += width * len(members)
    tensors = _upload(pieces, device)
    groups = _make_groups(order, len(spans), tensors[2 + len(extra) :])
    for group, ((_, _, masked), members) in zip(groups, order.items(), strict=True):
        if masked:
            _explicit(group, [spans[member] for member in members], device)
    return Step(len(slots), int(positions.max()), tensors[0], tensors[1], groups, tensors[2 : 2 + len(extra)])


_NONE: Ints = np.empty(0, dtype=np.int64)
_Order = dict[tuple[int, int, bool], list[int]]  # (tokens, width, masked) -> calls


def _live_slots(spans: Sequence[Span], page_size: int) -> tuple[Ints, Ints]:
    """Slots of all context tokens, call after call, and how many each call has."""
    pages = np.array(list(chain.from_iterable([span.pages for span in spans])), dtype=np.int64)
    live = np.array(list(chain.from_iterable([span.live for span in spans])), dtype=np.int64)
    page, offset = np.nonzero((live[:, None] >> np.arange(page_size)) & 1)
    owner = np.repeat(np.arange(len(spans)), [len(span.pages) for span in spans])
    return pages[page] * page_size + offset, np.bincount(owner[page], minlength=len(spans)).astype(np.int64)


def _grouped(spans: Sequence[Span], tokens: list[int], lengths: list[int], ordered: bool) -> _Order:
    order: _Order = {}
    for index, (span, count, length) in enumerate(zip(spans, tokens, lengths, strict=True)):
        fresh = count > 1 and length == 0 and span.mask is None and not ordered and _rising(span.positions)
        key = (count, 0 if fresh else padded(length + count), span.mask is not None)
        order.setdefault(key, []).append(index)
    return order


def _rising(positions: Sequence[int]) -> bool:
    """Whether the positions are consecutive: then causal by position is causal by order, windows included."""
    start = positions[0]
    return list(positions) == list(range(start, start + len(positions)))


def _flat(order: _Order, tokens: list[int], slots: Ints, context: Ints, lengths: Ints) -> tuple[Ints, Ints]:
    """The gathered slots of all groups, one padded row per call, and how many of a call's row are real.

    Padding repeats the call's own first new slot, so that whatever is read was written.
    """
    calls = np.array([member for members in order.values() for member in members], dtype=np.int64)
    widths = np.array([width for (_, width, _), members in order.items() for _ in members], dtype=np.int64)
    counts = np.array(tokens, dtype=np.int64)
    first = np.cumsum(counts) - counts
    base = np.empty(len(calls), dtype=np.int64)
    base[calls] = np.cumsum(widths) - widths
    flat = np.repeat(slots[first[calls]], widths)
    gathered = np.empty(len(calls), dtype=bool)
    gathered[calls] = widths > 0
    flat[_ranges(base, lengths)] = context
    own = np.repeat(gathered, counts)
    flat[_ranges(base + lengths, counts)[own]] = slots[own]
    return flat, lengths + counts


def _ranges(starts: Ints, counts: Ints) -> Ints:
    """start, start + 1, ... `count` of them, for each pair."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    ranges: Ints = np.arange(total) + np.repeat(starts - (ends - counts), counts)
    return ranges


def _make_groups(order: _Order, calls: int, tensors: list[Tensor]) -> list[Group]:
    groups = []
    for place, ((count, width, _), members) in enumerate(order.items()):
        rows, context, lengths = tensors[3 * place : 3 * place + 3]
        groups.append(Group(len(members), count, width, None if len(members) == calls else rows, context, lengths))
    return groups


def _explicit(group: Group, spans: Sequence[Span], device: torch.device) -> None:
    """Attach the explicit masks of a group, padded to its width, and which rows see nothing."""
    masks = np.zeros((group.n, group.tokens, group.width), dtype=bool)
    for row, span in zip(masks, spans, strict=True):
        assert span.mask is not None
        row[:, : span.mask.shape[1]] = span.mask
    blind = ~masks.any(-1).reshape(-1, 1, 1)
    group.mask = upload(torch.from_numpy(masks), device)
    if blind.any():
        group.blind = upload(torch.from_numpy(blind), device)


def _upload(pieces: list[Ints], device: torch.device) -> list[Tensor]:
    """The arrays as tensors on the device, by one copy."""
    joined: Any = upload(torch.from_numpy(np.concatenate(pieces)), device)
    return list(torch.split(joined, [len(piece) for piece in pieces]))
