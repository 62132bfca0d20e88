"""Trait `input_text`: tokens become Embeds."""

from __future__ import annotations

from pie_core import U32, ArgumentError, Command, Embed, ModelInfo, Trait, Writes, hookimpl


class EmbedTxt(Command):
    """Write the embeddings of token ids `tok`, standing at positions `pos`, into `emb`, one each.

    ArgumentError: unequal lengths, a token outside the vocabulary, a position outside the model's range, an Embed named
        twice.
    HandleError: an Embed that is not this inferlet's.
    """

    tok: list[U32]
    pos: list[U32]
    emb: Writes[Embed]

    @property
    def weight(self) -> int:
        return len(self.tok)

    def prepare(self, model: ModelInfo) -> None:
        if not len(self.tok) == len(self.pos) == len(self.emb):
            raise ArgumentError(
                f"embed_txt: {len(self.tok)} tokens, {len(self.pos)} positions and {len(self.emb)} Embeds; "
                "give one of each per token"
            )
        if self.tok and max(self.tok) >= model.vocab_size:
            raise ArgumentError(f"embed_txt: token {max(self.tok)} is outside the vocabulary of {model.vocab_size}")
        if self.pos and max(self.pos) >= model.max_position:
            raise ArgumentError(
                f"embed_txt: position {max(self.pos)} is outside the model's range of {model.max_position}"
            )
        if len(self.emb) > 1 and len(set(map(id, self.emb))) < len(self.emb):
            raise ArgumentError("embed_txt: an Embed is named twice in `emb`")
        for embed, position in zip(self.emb, self.pos, strict=True):
            embed.position = position


INPUT_TEXT = Trait(
    name="input_text",
    version="1.0.0",
    doc="Tokens in: token ids become Embeds.",
    calls=(EmbedTxt,),
    requires=("allocate>=1,<2", "forward>=1,<2"),
)


@hookimpl
def pie_trait() -> Trait:
    return INPUT_TEXT
