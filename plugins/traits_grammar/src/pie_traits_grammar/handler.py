"""The handler for any backend: grammars on the host, distributions from whatever handles `output_text`."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

import numpy as np
from pie_traits_text.output_text import Dist, GetNextDist, RestrictsDists
from pie_traits_text.tokenize import GetVocabs

from pie_core import DeviceError, Foundation, UnsupportedError
from pie_traits_grammar.grammar import (
    Advance,
    CopyMatcher,
    CountAllowed,
    GetNextDistMasked,
    MatcherState,
    Rollback,
    SetGrammar,
)
from pie_traits_grammar.matcher import Cell, Version
from pie_traits_grammar.matching import Matching, Place


class GrammarHandler:
    """Commands of the host, and one of the device.

    Of the backend it needs the words of `tokenize`, the end tokens, and `output_text`: whole distributions, or, for
    speed, a handler that restricts them itself (`RestrictsDists`).
    """

    def __init__(self, ground: Foundation) -> None:
        info = ground.backend.info
        if not info.eos_tokens:
            raise UnsupportedError(f"model {info.name!r} names no token that ends an answer")
        specials = (*info.special_tokens, *(() if info.bos_token is None else (info.bos_token,)))
        words = ground.handlers["tokenize"].get_vocabs(GetVocabs())
        self._matching = Matching(words, info.eos_tokens, specials)
        self._output = ground.handlers["output_text"]
        self._at_once = ground.backend.batch_limit(GetNextDist)

    def close(self) -> None:
        """End the process that tries grammars."""
        self._matching.close()

    # on threads of the host

    def set_grammar(self, batch: Sequence[SetGrammar]) -> list[MatcherState]:
        """Compile."""
        (command,) = batch
        place = self._matching.start(command.syntax, command.grammar)
        return [self._arrive(command.matcher[0].cell, place, command.version)]

    def advance(self, batch: Sequence[Advance]) -> list[MatcherState]:
        """Follow tokens."""
        (command,) = batch
        cell = command.matcher[0].cell
        self._matching.advance(cell.state, command.tokens)
        return [self._arrive(cell, cell.state, command.version)]

    def rollback(self, batch: Sequence[Rollback]) -> list[MatcherState]:
        """Take tokens back."""
        (command,) = batch
        cell = command.matcher[0].cell
        self._matching.rollback(cell.state, command.count)
        return [self._arrive(cell, cell.state, command.version)]

    def copy_matcher(self, batch: Sequence[CopyMatcher]) -> None:
        """Branch."""
        (command,) = batch
        place = command.src[0].cell.state.copy()
        self._arrive(command.dst[0].cell, place, command.version)

    def count_allowed(self, batch: Sequence[CountAllowed]) -> list[int]:
        """Look ahead."""
        (command,) = batch
        return [self._matching.count(command.matcher[0].cell.state, command.tokens)]

    def _arrive(self, cell: Cell, place: Place, version: Version | None) -> MatcherState:
        assert version is not None
        version.allowed = self._matching.allowed(place)
        cell.state = place
        matcher = place.matcher
        return MatcherState(
            tokens=place.taken,
            accepting=place.ended or matcher.is_accepting(),
            ended=place.ended or matcher.is_stopped(),
            forced=b"" if place.ended else matcher.compute_ff_bytes(),
        )

    # on the device thread

    def get_next_dist_masked(self, batch: Sequence[GetNextDistMasked]) -> list[Dist]:
        """Restrict."""
        return [dist for part in self._parts(batch) for dist in self._restricted(part)]

    def _parts(self, batch: Sequence[GetNextDistMasked]) -> Iterator[Sequence[GetNextDistMasked]]:
        """As many as `output_text` takes at once."""
        for first in range(0, len(batch), self._at_once):
            yield batch[first : first + self._at_once]

    def _restricted(self, batch: Sequence[GetNextDistMasked]) -> list[Dist]:
        allowed = [command.version.allowed for command in batch if command.version is not None]
        if isinstance(self._output, RestrictsDists):
            return self._output.get_restricted_dists([GetNextDist(c.emb, c.top_k) for c in batch], allowed)
        whole = self._output.get_next_dist([GetNextDist(command.emb, None) for command in batch])
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
            "get_next_dist_masked: every allowed token has probability 0 in this backend's distributions; it needs "
            "`get_restricted_dists` (see pie_traits_text.output_text) to tell them apart"
        )
    probs = probs[:top_k] / total
    rest = max(0.0, 1.0 - float(probs.sum())) if len(probs) < len(ids) else 0.0
    listed = ids[:top_k].astype(np.uint32)
    return Dist(array("I", listed.tobytes()), array("f", probs.astype(np.float32).tobytes()), rest)
