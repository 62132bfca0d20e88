"""The handler for any backend: distributions from `output_text`, embeddings from `input_text`, the draw by the SDK."""

from __future__ import annotations

from collections.abc import Sequence

from inferlet.dist import Dist
from inferlet.draws import Draws
from pie_traits_text.input_text import EmbedTxt
from pie_traits_text.output_text import GetNextDist

from pie_core import Foundation
from pie_traits_decode.decode import Sample


class DecodeHandler:
    """Draws just as a program does that is given the distribution. Device thread."""

    def __init__(self, ground: Foundation) -> None:
        self._input = ground.handlers["input_text"]
        self._output = ground.handlers["output_text"]
        self._at_once = ground.backend.batch_limit(GetNextDist)

    def sample(self, batch: Sequence[Sample]) -> list[int]:
        """As many distributions at a time as `output_text` takes."""
        parts = [batch[first:][: self._at_once] for first in range(0, len(batch), self._at_once)]
        tokens = [token for part in parts for token in self._drawn(part)]
        wanted = [
            EmbedTxt([token], [command.position], command.into)
            for token, command in zip(tokens, batch, strict=True)
            if command.into
        ]
        if wanted:
            self._input.embed_txt(wanted)
        return tokens

    def _drawn(self, batch: Sequence[Sample]) -> list[int]:
        asked = [GetNextDist(command.emb, command.top_k if command.temperature else 1) for command in batch]
        return [_draw(Dist.of(dist), of) for dist, of in zip(self._output.get_next_dist(asked), batch, strict=True)]


def _draw(dist: Dist, of: Sample) -> int:
    return dist.sample(of.temperature, of.top_k, of.top_p, of.min_p, Draws(of.seed, of.draw))
