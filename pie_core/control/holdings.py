"""Who holds which physical resource of a model, read from the books when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pie_core.control.layer import ControlLayer
from pie_core.resource import UNBOUND, KvPage, Resource


@dataclass(frozen=True, slots=True)
class Holding:
    """One physical resource that is held. owner: the id of the inferlet that holds it, the oldest of several; None if
    only exports do. holders: inferlets and exports, so that more than one means it is shared."""

    owner: str | None
    user: str
    holders: int


def holdings(layer: ControlLayer, kind: type[Resource]) -> Mapping[int, Holding]:
    """What is held of a kind, by physical index. What is in none of these and not free is still in use by a command.

    Takes time in proportion to what is held.
    """
    found: dict[int, Holding] = {}
    for space in layer.spaces.values():
        _enter(found, space.owner, space.user, space.tables[kind].values())
    if kind is KvPage:
        for user, export in layer.memory.published():
            _enter(found, None, user, export.pages)
    return found


def _enter(found: dict[int, Holding], owner: str | None, user: str, records: Iterable[Resource]) -> None:
    alike: dict[int, Holding] = {}  # by number of holders
    for record in records:
        index, holders = record.index, record.holders
        if index != UNBOUND and index not in found:
            holding = alike.get(holders)
            if holding is None:
                holding = alike[holders] = Holding(owner, user, holders)
            found[index] = holding
