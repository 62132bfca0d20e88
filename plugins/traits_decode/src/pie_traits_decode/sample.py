"""`sample`: the server draws the next token, and it may be run before the program knows it."""

from __future__ import annotations

from pie_core import U32, U64, ArgumentError, Command, Embed, ModelInfo, Planned, Reads, Writes
from pie_traits_decode.settings import check_settings, position_behind


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

    ArgumentError: more or fewer than one Embed in `emb`, more than one in `into`, `into` outside the model's range,
        parameters outside theirs.
    HandleError: an Embed that was never written.
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
        check_settings(self, "sample")
        self.position = position_behind(self.emb, "sample")
        if self.into:
            if self.position >= model.max_position:
                raise ArgumentError(
                    f"sample: the token would stand at position {self.position}, outside the model's range of "
                    f"{model.max_position}; draw it without `into`"
                )
            self.into[0].position = self.position
