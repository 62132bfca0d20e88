"""Index tensors of a batch: what is gathered, in which groups, padded to what."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from pie_backend_torch.attention import GroupedAttention, GroupedPlan
from pie_backend_torch.grouped import LANE, Group, padded
from pie_backend_torch.step import Span, Step, build_step

CPU = torch.device("cpu")


@given(st.integers(1, 200_000))
def test_padding_is_by_lanes_and_wastes_at_most_a_third(length: int) -> None:
    width = padded(length)
    assert width >= length and width % LANE == 0
    assert width < length + LANE or width <= length * 3 / 2


def groups_of(step: Step) -> list[Group]:
    assert isinstance(step.plan, GroupedPlan)
    return step.plan.groups


@given(st.data())
def test_every_call_gathers_its_live_slots_then_its_own(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([8, 16, 32]))
    spans, pages = [], iter(range(10_000))
    for _ in range(data.draw(st.integers(1, 6))):
        context = [next(pages) for _ in range(data.draw(st.integers(0, 3)))]
        live = [data.draw(st.integers(0, (1 << size) - 1)) for _ in context]
        count, own = data.draw(st.integers(1, 5)), next(pages) * size
        start = data.draw(st.integers(0, 50))
        spans.append(Span(context, live, range(own, own + count), range(start, start + count)))
    step = build_step(GroupedAttention(), spans, size, CPU, ([1, 2, 3],))
    assert step.slots.tolist() == [slot for span in spans for slot in span.slots]
    assert step.positions.tolist() == [position for span in spans for position in span.positions]
    assert step.highest == max(step.positions.tolist())
    assert step.extra[0].tolist() == [1, 2, 3]
    rows = [range(0)] * len(spans)
    at = 0
    for place, span in enumerate(spans):
        rows[place] = range(at, at := at + len(span.slots))
    seen = []
    for group in groups_of(step):
        group_rows = (torch.arange(at) if group.rows is None else group.rows).view(group.n, group.tokens).tolist()
        for row, of in enumerate(group_rows):
            place = next(index for index, span_rows in enumerate(rows) if list(span_rows) == of)
            seen.append(place)
            span = spans[place]
            wanted = [
                page * size + slot
                for page, bits in zip(span.pages, span.live, strict=True)
                for slot in range(size)
                if bits >> slot & 1
            ]
            wanted += list(span.slots)
            assert int(group.lengths[row]) == len(wanted)
            assert group.width in (0, padded(len(wanted)))  # the call's own length alone decides
            if group.width:
                gathered = group.context.view(group.n, group.width)[row].tolist()
                assert gathered[: len(wanted)] == wanted
                assert set(gathered[len(wanted) :]) <= {span.slots[0]}
            else:
                assert wanted == list(span.slots)
    assert sorted(seen) == list(range(len(spans)))


def test_equal_shapes_share_a_launch_and_masks_keep_apart() -> None:
    decode = [Span([1, 2], [0xFF, 0xF], [30 + n], [12]) for n in range(4)]
    masked = Span([1], [0xFF], [40], [9], np.ones((1, 9), dtype=bool))
    groups = groups_of(build_step(GroupedAttention(), [*decode, masked], 8, CPU))
    assert [(group.n, group.tokens, group.width, group.mask is None) for group in groups] == [
        (4, 1, 32, True),
        (1, 1, 32, False),
    ]
