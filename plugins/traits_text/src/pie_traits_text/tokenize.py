"""Trait `tokenize`: text to token ids and back, with the model's own tokenizer."""

from __future__ import annotations

from pie_core import U32, Query, Trait, hookimpl


class Tokenize(Query):
    """Token ids of `text`, equal to the model's own tokenizer, nothing added at either end.

    Special tokens written out in the text ("</s>") become their ids.

    ArgumentError: not a text.
    """

    returns = list[U32]
    text: str


class Detokenize(Query):
    """Text of token ids, special tokens included. Bytes that are not whole UTF-8 become U+FFFD.

    ArgumentError: an id outside the vocabulary.
    """

    returns = str
    ids: list[U32]


class GetVocabs(Query):
    """The bytes of every token; the index is the token id."""

    returns = list[bytes]


TOKENIZE = Trait(
    name="tokenize",
    version="1.0.0",
    doc="Text to tokens and back.",
    calls=(Tokenize, Detokenize, GetVocabs),
    requires=("input_text>=1,<2",),
)


@hookimpl
def pie_trait() -> Trait:
    return TOKENIZE
