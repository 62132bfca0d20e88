"""Trait `decode`: the server draws the next token, and it may be run before the program knows it."""

from __future__ import annotations

import math

from pie_core import (
    U32,
    U64,
    ArgumentError,
    Command,
    Embed,
    HandleError,
    ModelInfo,
    Planned,
    Reads,
    Trait,
    Writes,
    hookimpl,
)


class Sample(Command):
    """Draw the token that follows an Embed which `forward` wrote, and write its embedding.

    emb: one Embed with a hidden state. into: none, or one Embed, which gets the embedding of what is drawn and stands
        where the token will, so that `forward` can be enqueued over it at once. May be `emb`, which is read first.
    temperature: 0 takes the most probable token; else probabilities are raised to 1 / temperature. top_k: only the k
        most probable (None: all). min_p: only those with at least that share of the best one's probability (Nguyen et
        al. 2024). top_p: only the fewest whose mass reaches that part of what the other two leave (Holtzman et al.
        2020).
    seed, draw: the random number is number `draw` of the seed's (SplitMix64), whatever else was drawn; so the same
        arguments give the same token, here and in the SDK's `Dist.sample`.

    Errors: more or fewer than one Embed in `emb`, more than one in `into`, an Embed that was never written, `into`
    outside the model's range, parameters outside theirs.
    """

    returns = U32
    emb: Reads[Embed]
    into: Writes[Embed]
    temperature: float = 0.0
    top_k: U32 | None = 256
    top_p: float = 1.0
    min_p: float = 0.0
    seed: U64 = 0
    draw: U64 = 0
    position: Planned[int] = 0  # where the token goes

    def prepare(self, model: ModelInfo) -> None:
        if len(self.emb) != 1 or len(self.into) > 1:
            given = f"{len(self.emb)} and {len(self.into)}"
            raise ArgumentError(f"sample: one Embed to read, and one or none to write, are wanted; got {given}")
        if not (0 <= self.temperature < math.inf and 0 < self.top_p <= 1 and 0 <= self.min_p <= 1):
            raise ArgumentError("sample: temperature >= 0, 0 < top_p <= 1 and 0 <= min_p <= 1 are wanted")
        if self.top_k == 0:
            raise ArgumentError("sample: top_k is 0; name at least 1, or None for the whole vocabulary")
        position = self.emb[0].position
        if position is None:
            raise HandleError("sample: the Embed was never written; run forward with it in `oemb` first")
        self.position = position
        if self.into:
            if position >= model.max_position:
                raise ArgumentError(
                    f"sample: the token would stand at position {position}, outside the model's range of "
                    f"{model.max_position}; draw it without `into`"
                )
            self.into[0].position = position


DECODE = Trait(
    name="decode",
    version="1.0.0",
    doc="Tokens drawn on the server, which may be run before the program knows them.",
    calls=(Sample,),
    requires=("forward>=1,<2", "input_text>=1,<2", "output_text>=1,<2"),
)


@hookimpl
def pie_trait() -> Trait:
    return DECODE
