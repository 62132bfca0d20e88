"""How torch's attention is planned: calls in groups of one shape, each gathering a dense row of slots.

The context of a call is its live context tokens, then its own new ones, padded to a width that depends on the call
alone. Calls with equal numbers of tokens and equal width form a group, attended to by one launch. Since a call's shapes
never depend on its neighbours, neither do its results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from pie_backend_torch.pool import KvPool
from pie_backend_torch.step import Ints, Span, Step, live_slots, ranges
from pie_backend_torch.upload import upload

LANE = 32  # slots; the narrowest step of padded widths


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


class Groups:
    """The groups of one pass: all of `kernels.AttentionPlan` but the attending, which `attention.GroupedPlan` adds."""

    def __init__(self, spans: Sequence[Span], page_size: int, ordered: bool) -> None:
        tokens = [len(span.slots) for span in spans]
        slots = np.array([slot for span in spans for slot in span.slots], dtype=np.int64)
        context, lengths = live_slots(spans, page_size)
        self.tokens = len(slots)
        self._spans = spans
        self._order = _grouped(spans, tokens, lengths.tolist(), ordered)
        flat, used = _flat(self._order, tokens, slots, context, lengths)
        starts = np.cumsum([0, *tokens])
        self.arrays: list[Ints] = []
        self.groups: list[Group] = []
        at = 0
        for (count, width, _), members in self._order.items():
            whole = len(members) == len(spans)
            self.arrays.append(_NONE if whole else (starts[members][:, None] + np.arange(count)).reshape(-1))
            self.arrays.append(flat[at : at + width * len(members)])
            self.arrays.append(used[members])
            at += width * len(members)

    def receive(self, tensors: Sequence[Tensor], device: torch.device) -> None:
        self.groups = _make_groups(self._order, len(self._spans), tensors)
        for group, ((_, _, masked), members) in zip(self.groups, self._order.items(), strict=True):
            if masked:
                _explicit(group, [self._spans[member] for member in members], device)

    def place(self, step: Step, pool: KvPool) -> None:
        for group in self.groups:
            if group.width == 0:
                continue
            group.queries, group.keys = _placed(group, step.positions, pool.positions)
            if pool.orders is not None and step.orders is not None:
                group.asked, group.shown = _placed(group, step.orders, pool.orders)
            group.biases[None] = _bias(group, None, pool.dtype)

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


_NONE: Ints = np.empty(0, dtype=np.int64)
_Order = dict[tuple[int, int, bool], list[int]]  # (tokens, width, masked) -> calls


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
    flat[ranges(base, lengths)] = context
    own = np.repeat(gathered, counts)
    flat[ranges(base + lengths, counts)[own]] = slots[own]
    return flat, lengths + counts


def _make_groups(order: _Order, calls: int, tensors: Sequence[Tensor]) -> list[Group]:
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
