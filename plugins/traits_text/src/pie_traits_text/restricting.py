"""Distributions among some of the tokens, of any handler of `output_text`: for traits that are built on it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from pie_core import DeviceError
from pie_traits_text.output_text import Dist, GetNextDist, RestrictsDists


def restricted_dists(output: Any, batch: Sequence[GetNextDist], allowed: Sequence[bytes]) -> list[Dist]:
    """See `RestrictsDists.get_restricted_dists`, of a handler that has it or has not. Device thread."""
    if isinstance(output, RestrictsDists):
        return output.get_restricted_dists(batch, allowed)
    whole = output.get_next_dist([GetNextDist(command.emb, None) for command in batch])
    return [restrict(d, mask, c.top_k) for d, mask, c in zip(whole, allowed, batch, strict=True)]


def restrict(dist: Dist, allowed: bytes, top_k: int | None) -> Dist:
    """A distribution over the whole vocabulary among the allowed tokens, renormalized. Order is kept."""
    ids = np.frombuffer(dist.ids, dtype=np.uint32)
    probs = np.frombuffer(dist.probs, dtype=np.float32).astype(np.float64)
    bits = np.unpackbits(np.frombuffer(allowed, dtype=np.uint8), bitorder="little")
    kept = bits[ids] == 1
    ids, probs = ids[kept], probs[kept]
    total = probs.sum()
    if not total > 0:
        raise DeviceError(
            "every allowed token has probability 0 in this backend's distributions; it needs "
            "`get_restricted_dists` (see pie_traits_text.output_text) to tell them apart"
        )
    probs = probs[:top_k] / total
    rest = max(0.0, 1.0 - float(probs.sum())) if len(probs) < len(ids) else 0.0
    listed = ids[:top_k].astype(np.uint32)
    return Dist(array("I", listed.tobytes()), array("f", probs.astype(np.float32).tobytes()), rest)
