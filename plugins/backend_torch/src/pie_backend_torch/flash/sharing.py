"""Which decode steps look at the same full pages first: those are then read once for all (cascade inference)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pie_backend_torch.flash.calls import Call
from pie_backend_torch.step import Ints

LEAST = 128  # tokens that are worth a launch and a merge of their own


@dataclass(frozen=True, slots=True)
class Shared:
    """Calls of one token each over the same full pages, beside what each looks at alone."""

    pages: Ints
    calls: list[Call]


def find_shared(calls: Sequence[Call], size: int) -> tuple[list[Shared], list[Call]]:
    """Groups of regular calls of one token that share `LEAST` tokens or more, and the calls in no group.

    Calls are compared by their first `LEAST` tokens; a group shares what all of it share.
    """
    least = LEAST // size
    groups: dict[bytes, list[Call]] = {}
    for call in calls:
        # its new token is always its own
        begin = call.pages[:least].tobytes() if (call.length - 1) // size >= least else b""
        groups.setdefault(begin, []).append(call)
    alone = groups.pop(b"", [])
    shared = []
    for members in groups.values():
        if len(members) == 1:
            alone += members
            continue
        fewest = min((call.length - 1) // size for call in members)
        tables = np.stack([call.pages[:fewest] for call in members])
        same = np.append((tables == tables[0]).all(0), False)
        shared.append(Shared(tables[0, : int(same.argmin())], members))
    return shared, alone
