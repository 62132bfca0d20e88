"""What `forward` and `forward_with_adapter` do on the host when they are enqueued: check, then plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pie_core import ArgumentError, HandleError, KvPage, Mask, ModelInfo

if TYPE_CHECKING:
    from pie_traits_text.forward import Forward, ForwardWithAdapter

    AnyForward: TypeAlias = "Forward | ForwardWithAdapter"


def plan(command: AnyForward, model: ModelInfo) -> None:
    """`Command.prepare` of both: every check, then the planned fields and the books of pages and Embeds."""
    positions = [embed.position for embed in command.iemb]
    room = _room(command, len(positions))
    _check(command, positions, sum(room), model)
    command.live = tuple([page.used & ~page.hidden for page in command.ikv])
    if command.mask is not None:
        command.held = tuple([page.used for page in command.ikv])
    command.slots = tuple(_fill(command, len(positions), room))  # shortens okv
    command.positions = tuple(positions)  # type: ignore[arg-type]  # `_check` refused the unwritten ones
    for embed, position in zip(command.oemb, command.positions[len(positions) - len(command.oemb) :], strict=True):
        embed.position = position + 1


def _room(command: AnyForward, count: int) -> list[int]:
    """Free slots of the pages of `okv`, up to the one with which they suffice."""
    room: list[int] = []
    for page in command.okv:
        free = page.free
        room.append(free)
        count -= free
        if count <= 0:
            break
    return room


def _check(command: AnyForward, positions: list[int | None], free: int, model: ModelInfo) -> None:
    count = len(positions)
    if count == 0:
        raise ArgumentError(f"{_name(command)}: `iemb` is empty; name at least one Embed to run")
    if None in positions:
        place = positions.index(None)
        raise HandleError(f"{_name(command)}: Embed {place} of `iemb` was never written; embed_txt it first")
    farthest = max(position for position in positions if position is not None)
    if farthest >= model.max_position:
        raise ArgumentError(
            f"{_name(command)}: an Embed of `iemb` stands at position {farthest}, outside the model's range of "
            f"{model.max_position}"
        )
    if len(command.oemb) > count:
        raise ArgumentError(
            f"{_name(command)}: `oemb` has {len(command.oemb)} Embeds for {count} tokens; name {count} at most"
        )
    for field, named in (("oemb", command.oemb), ("okv", command.okv), ("ikv", command.ikv)):
        if len(named) > 1 and len(set(named)) < len(named):
            raise HandleError(f"{_name(command)}: a {named[0].kind} is named twice in `{field}`")
    if free < count:
        raise ArgumentError(f"{_name(command)}: `okv` has {free} free slots for {count} tokens; allocate more pages")
    if command.mask is not None:
        _check_mask(command, command.mask, count)


def _check_mask(command: AnyForward, mask: Mask, count: int) -> None:
    columns = sum(page.tokens for page in command.ikv) + count
    if (mask.rows, mask.cols) != (count, columns):
        raise ArgumentError(
            f"{_name(command)}: mask is {mask.rows}x{mask.cols}; for {count} tokens over {columns - count} context "
            f"tokens it must be {count}x{columns}"
        )


def _fill(command: AnyForward, count: int, room: list[int]) -> list[tuple[int, int]]:
    """Take free slots in order; `okv` keeps the pages that were taken from. Each slot as (place in okv, offset)."""
    filled: list[KvPage] = []
    taken: list[tuple[int, int]] = []
    for page, free in zip(command.okv, room, strict=False):
        if free:
            place = len(filled)
            filled.append(page)
            taken += [(place, offset) for offset in page.take(min(free, count - len(taken)))]
            if len(taken) == count:
                break
    command.okv = tuple(filled)
    return taken


def _name(command: AnyForward) -> str:
    """As a guest knows it, for messages."""
    return command.signature().name
