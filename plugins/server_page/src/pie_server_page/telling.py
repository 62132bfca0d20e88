"""A tree with its texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec

from pie_core.command import Query
from pie_core.errors import PieError
from pie_core.loaded import LoadedModel
from pie_server_page.branches import Branches
from pie_server_page.tree import stretches

UNKNOWN = "\ufffc"
"""In place of a token without a number: of a picture, or one that is not drawn yet."""


class Branch(msgspec.Struct, frozen=True):
    """Tokens without a fork among them. after: the place in the list of the one that it follows; -1: none.

    computed: how many times one of its tokens was run; as many as there are, if each was run once.
    """

    after: int
    text: str
    tokens: int
    computed: int


class Tree(msgspec.Struct, frozen=True):
    """What an inferlet has had computed, on the first model that it has used.

    noted: false if it has not used one yet, or did so first when nobody looked; the rest says nothing then. tokens: run
    through the model, as far as they were noted; complete: whether that is all. first_token_s: from its first use of
    the model until something was drawn or could be.
    """

    id: str
    noted: bool = False
    model: str = ""
    tokens: int = 0
    complete: bool = False
    first_token_s: float | None = None
    branches: Sequence[Branch] = ()


def tell(inferlet: str, model: LoadedModel, found: Branches) -> Tree:
    """A tree, its tokens as texts of the model."""
    branches = [
        Branch(each.after, "".join(_texts(model, each.tokens)), len(each.tokens), each.computed)
        for each in stretches(found.root)
    ]
    return Tree(inferlet, True, model.info.name, found.tokens, found.complete, found.first_s, branches)


def _texts(model: LoadedModel, tokens: Sequence[int | None]) -> Iterator[str]:
    for unknown, some in groupby(tokens, lambda token: token is None):
        known = [token for token in some if token is not None]
        yield UNKNOWN if unknown else _text(model, known)


def _text(model: LoadedModel, tokens: list[int]) -> str:
    """The text, if the model has the words for it."""
    query = model.realization.calls.get("detokenize")
    if query is None or not issubclass(query, Query):
        return UNKNOWN * len(tokens)
    try:
        return str(model.realization.answers[query](query(ids=tokens)))
    except PieError:
        return UNKNOWN * len(tokens)
