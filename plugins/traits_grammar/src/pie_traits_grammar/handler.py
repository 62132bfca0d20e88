"""The handler for any backend: grammars on the host, distributions from whatever handles `output_text`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pie_traits_text.output_text import Dist, GetNextDist
from pie_traits_text.restricting import restricted_dists
from pie_traits_text.tokenize import GetVocabs

from pie_core import Foundation, UnsupportedError
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
        return [_arrive(command.matcher[0].cell, place, command.version)]

    def advance(self, batch: Sequence[Advance]) -> list[MatcherState]:
        """Follow tokens."""
        (command,) = batch
        cell = command.matcher[0].cell
        cell.state.advance(command.tokens)
        return [_arrive(cell, cell.state, command.version)]

    def rollback(self, batch: Sequence[Rollback]) -> list[MatcherState]:
        """Take tokens back."""
        (command,) = batch
        cell = command.matcher[0].cell
        cell.state.rollback(command.count)
        return [_arrive(cell, cell.state, command.version)]

    def copy_matcher(self, batch: Sequence[CopyMatcher]) -> None:
        """Branch."""
        (command,) = batch
        place = command.src[0].cell.state.copy()
        _arrive(command.dst[0].cell, place, command.version)

    def count_allowed(self, batch: Sequence[CountAllowed]) -> list[int]:
        """Look ahead."""
        (command,) = batch
        return [command.matcher[0].cell.state.count(command.tokens)]

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
        return restricted_dists(self._output, [GetNextDist(c.emb, c.top_k) for c in batch], allowed)


def _arrive(cell: Cell, place: Place, version: Version | None) -> MatcherState:
    assert version is not None
    version.allowed = place.mask()
    cell.state = place
    return MatcherState(tokens=place.taken, accepting=place.accepting, ended=place.ended, forced=place.forced)
