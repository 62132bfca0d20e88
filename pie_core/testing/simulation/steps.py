"""What the ledger knows of commands that run in steps: when they must go on, when they must stop, what they reserve."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from pie_core.control.submission import Submission
from pie_core.inference.stepping import Conclusion
from pie_core.inference.wave import Wave
from pie_core.resource import KvPage
from pie_core.testing.simulation.entry import Entry
from pie_core.testing.simulation.linger import Linger


class Steps:
    """open_: the commands that are not done, by number. entry: of a submission. wanted: see `Ledger`.

    ended: owners whose spaces are closed.
    """

    def __init__(
        self,
        open_: Mapping[int, Entry],
        entry: Callable[[Submission], Entry],
        wanted: Callable[[], tuple[set[Entry], set[Entry]]],
        ended: Collection[str],
        complain: Callable[[str], None],
    ) -> None:
        self._open = open_
        self._entry = entry
        self._wanted = wanted
        self._ended = ended
        self._complain = complain
        self._taken: dict[Entry, int] = {}  # steps, by what the device has begun and not ended

    def accept(self, entry: Entry) -> None:
        """A command was enqueued: what others have reserved is neither read nor filled."""
        command = entry.submission.command
        for page, live in zip(getattr(command, "ikv", ()), getattr(command, "live", ()), strict=True):
            if live & self._reserved(page, but=entry):
                self._complain(f"{entry} is to read slots that are reserved")
        pages = getattr(command, "okv", ())
        for place, slot in getattr(command, "slots", ()):
            if self._reserved(pages[place], but=entry) >> slot & 1:
                self._complain(f"{entry} is to fill slots that are reserved")

    def check_page(self, page: KvPage) -> None:
        """Its books, after a step of the loop."""
        reserved = self._reserved(page)
        if page.reserved != reserved or page.used & reserved:
            self._complain(f"{page} has {reserved:b} reserved; the books: {page.reserved:b}, and {page.used:b} used")

    def begin(self, wave: Wave[Submission]) -> None:
        """The device has run a wave."""
        for batch in wave.batches:
            for place, submission in enumerate(batch.entries):
                if batch.kind.stepwise and place not in batch.errors:
                    self._taken[self._entry(submission)] = 0

    def check_step(self, ended: Sequence[Conclusion]) -> None:
        """The device has made a step: of each command that it has begun, but for those that are to stop."""
        must, may = self._wanted()
        outcomes = {self._entry(submission): (result, error) for submission, result, error in ended}
        for entry, before in list(self._taken.items()):
            unwanted = entry.owner in self._ended and entry not in may
            taken = len(_command(entry).seen)
            if entry not in outcomes:
                self._taken[entry] = taken
                if unwanted:
                    self._complain(f"{entry} goes on, though its inferlet has ended and nobody wants it")
                if taken != before + 1:
                    self._complain(f"{entry} has made {taken - before} steps in one")
                continue
            del self._taken[entry]
            if outcomes.pop(entry) == (None, None) and (entry.owner not in self._ended or entry in must):
                self._complain(f"{entry} was stopped, though it is wanted")
        if outcomes:
            self._complain(f"{list(map(str, outcomes))} have ended, and had not begun")

    def describe(self, ended: Sequence[Conclusion]) -> str:
        """What became of commands, for the log."""
        names = [
            f"{self._entry(submission)} {'failed' if error is not None else 'stopped' if result is None else 'ran'}"
            for submission, result, error in ended
        ]
        return ", ".join(names)

    def settle(self, entry: Entry) -> None:
        """A command is done: it has brought the books up to date, once, with what its program gets."""
        if isinstance(entry.submission.command, Linger):
            told = entry.submission.command.concluded
            value = entry.submission.ticket.value
            if len(told) != 1 or told[0] is not value:
                self._complain(f"{entry} came to {value}, and was concluded with {told}")

    def _reserved(self, page: KvPage, but: Entry | None = None) -> int:
        """What commands that are not done have reserved."""
        bits = 0
        for entry in self._open.values():
            command = entry.submission.command
            if isinstance(command, Linger) and entry is not but and not entry.submission.done:
                for place, slot in command.slots if page in command.okv else ():
                    bits |= (command.okv[place] is page) << slot
        return bits


def _command(entry: Entry) -> Linger:
    assert isinstance(entry.submission.command, Linger)
    return entry.submission.command
