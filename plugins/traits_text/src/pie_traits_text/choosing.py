"""The most probable tokens of any handler of `output_text`: for traits that are built on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pie_core import Embed
from pie_traits_text.output_text import GetNextDist, TellsBest


def best_tokens(output: Any, embeds: Sequence[tuple[Embed, ...]]) -> list[int]:
    """See `TellsBest.get_best`, of a handler that has it or has not. embeds: one each. Device thread."""
    asked = [GetNextDist(emb, 1) for emb in embeds]
    if isinstance(output, TellsBest):
        return output.get_best(asked)
    return [int(dist.ids[0]) for dist in output.get_next_dist(asked)]
