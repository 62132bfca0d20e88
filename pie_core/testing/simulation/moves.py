"""An independent record of what is on its way to host memory, there, or on its way back, from the waves alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from pie_core.control.swapping import Swapped, Swapping, Transfer
from pie_core.errors import PieError
from pie_core.inference.backend import Swapper
from pie_core.inference.swapping import SwapOut
from pie_core.resource import UNBOUND, Resource


@dataclass(eq=False)
class Move:
    """What was moved together. way: "out", "there", or "in". batch: the number of the last batch that moved it."""

    swapped: Swapped
    owner: str
    layout: Sequence[Resource]
    batch: int
    way: str = "out"
    wanted: Sequence[Resource] = ()  # what of it is on its way back
    copy: object = None

    @property
    def live(self) -> list[Resource]:
        """Those that somebody still wants."""
        return [record for record in self.layout if record.holders or record.uses]


@dataclass(frozen=True)
class Loss:
    """A copy that could not be brought back: what builds on it must fail.

    records: what was lost; as long as the loss is remembered by their ids, no other record can have one of these.
    """

    owner: str
    records: Sequence[Resource]
    failed: bool = True

    def __str__(self) -> str:
        return f"a swap_in for {self.owner}"


class Moves:
    """Checks each transfer, and after each step that nothing is lost, kept for nothing, or forgotten in host memory."""

    def __init__(self, swapper: Swapper, host_bytes: int, failed: Collection[int], complain: Callable[[str], None]):
        """failed: ids of the commands that failed on the device."""
        self.away: dict[int, Move] = {}  # by the id of a record that no command may touch now
        self._moves: dict[Swapped, Move] = {}
        self._bytes_of = swapper.bytes_of
        self._host_bytes = host_bytes
        self._failed = failed
        self._complain = complain
        self._broken = False  # by a copy that failed

    def launch(self, transfer: Transfer, batch: int, busy: Collection[str], touched: Collection[int]) -> str:
        """A transfer is on its way; what to say of it.

        busy: owners with commands that are ready or on the device. touched: ids of the records that those touch.
        """
        if isinstance(transfer.command, SwapOut):
            self._launch_out(transfer, batch, busy, touched)
        else:
            self._launch_in(transfer, batch)
        count, swapped = transfer.weight, transfer.swapped
        return f"{swapped.space.owner} {type(transfer.command).signature().name} of {count} {swapped.kind.kind}s"

    def complete(self, transfer: Transfer, copy: object, error: PieError | None) -> Move | None:
        """The control layer was told of it. What is lost, if anything is."""
        move = self._moves.get(transfer.swapped)
        if move is None:
            self._complain(f"a transfer of {transfer.swapped.space.owner} is done, and there is nothing to move")
            return None
        failed = id(transfer.command) in self._failed
        if failed != (error is not None):
            self._complain(f"a transfer of {move.owner} {'failed' if failed else 'ran'}, and came to {error}")
        if move.way == "out" and error is None:
            move.way, move.copy = "there", copy
            return None
        del self._moves[transfer.swapped]
        if move.way == "out":
            self._broken = True
            for record in move.layout:
                self.away.pop(id(record), None)
            return None
        return move if error is not None else None

    def uses(self) -> Iterator[Resource]:
        """What transfers on the device use, once for each."""
        for move in self._moves.values():
            if move.way != "there":
                yield from move.layout if move.way == "out" else move.wanted

    def room_for(self, kind: type[Resource], count: int, host_bytes: int) -> bool:
        """Whether so many more could be moved out, as far as is known."""
        return not self._broken and self.used_bytes + count * self._bytes_of[kind] <= host_bytes

    @property
    def used_bytes(self) -> int:
        """Of host memory."""
        return sum(len(move.layout) * self._bytes_of[move.swapped.kind] for move in self._moves.values())

    def check(self, swapping: Swapping, open_: Collection[int]) -> None:
        """Compare with the control layer's books. open_: ids of the records that commands touch that are not done."""
        pending = {transfer.swapped for transfer in swapping.transfers}
        for move in list(self._moves.values()):
            if move.way == "there" and not move.live and move.swapped not in pending:
                del self._moves[move.swapped]
                for record in move.layout:
                    self.away.pop(id(record), None)
            elif move.way == "there" and move.swapped.resting:
                self._check_resting(move, open_)
        used = self.used_bytes
        if used != swapping.used_bytes:
            self._complain(f"{used} bytes of host memory are in use, the books say {swapping.used_bytes}")
        if used > self._host_bytes:
            self._complain(f"{used} bytes of host memory are in use, of {self._host_bytes} that may be")
        for kind, pool in swapping._pools.items():
            leaving = sum(len(m.layout) for m in self._moves.values() if m.way == "out" and m.swapped.kind is kind)
            if leaving != pool.leaving:
                self._complain(f"{leaving} {kind.kind}s are leaving, the pool counts {pool.leaving}")

    def _check_resting(self, move: Move, open_: Collection[int]) -> None:
        own = set(map(id, move.swapped.space.tables[move.swapped.kind].values()))
        for record in move.live:
            if id(record) in open_ or record.holders > (id(record) in own):
                self._complain(f"a {record.kind} of {move.owner} is wanted, and stays in host memory")
            if record.index != UNBOUND:
                self._complain(f"a {record.kind} of {move.owner} is in host memory, and keeps its place")

    def _launch_out(self, transfer: Transfer, batch: int, busy: Collection[str], touched: Collection[int]) -> None:
        swapped, owner = transfer.swapped, transfer.swapped.space.owner
        if self._broken:
            self._complain(f"something of {owner} is moved, though a copy has failed before")
        if owner in busy:
            self._complain(f"something of {owner} is moved, though it could go on")
        if transfer.command.indices != tuple(record.index for record in transfer.reads):  # type: ignore[attr-defined]
            self._complain(f"what is copied for {owner} is not what was chosen")
        self._moves[swapped] = move = Move(swapped, owner, tuple(transfer.reads), batch)
        for record in move.layout:
            if id(record) in self.away or record.index == UNBOUND:
                self._complain(f"a {record.kind} of {owner} is moved twice")
            if record.holders > 1:
                self._complain(f"a {record.kind} of {owner} is moved, which others hold too")
            if id(record) in touched:
                self._complain(f"a {record.kind} of {owner} is moved, while a command uses it")
            self.away[id(record)] = move

    def _launch_in(self, transfer: Transfer, batch: int) -> None:
        move = self._moves.get(transfer.swapped)
        if move is None or move.way != "there":
            self._complain(f"something of {transfer.swapped.space.owner} comes back that is not in host memory")
            return
        command: object = transfer.command
        move.way, move.wanted, move.batch = "in", tuple(transfer.writes), batch
        for record in move.layout:
            if record in move.wanted and record.index == UNBOUND:
                self._complain(f"a {record.kind} of {move.owner} comes back to no place")
            if record not in move.wanted and (record.holders or record.uses):
                self._complain(f"a {record.kind} of {move.owner} is left behind in host memory")
            self.away.pop(id(record), None)
        places = tuple(record.index if record in move.wanted else None for record in move.layout)
        if getattr(command, "copy", None) is not move.copy or getattr(command, "indices", None) != places:
            self._complain(f"what comes back for {move.owner} is not what was moved out")
