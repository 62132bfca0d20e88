"""A look at a `decode` while it runs, and its end before its time."""

from __future__ import annotations

from typing import Any

from pie_core import U32, ArgumentError, Embed, Query, Reads
from pie_traits_decode.steps import Decode


class Drawn(Query):
    """Tokens that a `decode` has drawn so far, for who shows them as they come; its result has all of them.

    emb: the Embed that it writes. after: how many are known already; those behind them are told, in order. None are
    where nothing was drawn since, where it has not begun yet, where it is done, and where another command that writes
    the Embed is enqueued behind it.

    ArgumentError: more or fewer than one Embed.
    """

    returns = list[U32]
    emb: Reads[Embed]
    after: U32 = 0


class EndDecode(Query):
    """Have a `decode` end with the next token that it draws, as if that were the last it may. One that is done is left
    alone.

    emb: the Embed that it writes, with no other command that does enqueued behind it.

    ArgumentError: more or fewer than one Embed.
    """

    emb: Reads[Embed]


def decode_into(query: Drawn | EndDecode) -> Decode | None:
    """The command that a query is about, if it is not done. Control thread. Raises `ArgumentError`."""
    if len(query.emb) != 1:
        raise ArgumentError(f"{query.signature().name}: one Embed is wanted, got {len(query.emb)}")
    command: Any = getattr(query.emb[0].writer, "command", None)
    return command if isinstance(command, Decode) else None
