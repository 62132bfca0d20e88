"""What running decodes without the host's commands needs to know of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Course(Protocol):
    """One decode as this needs to know it (`pie_traits_decode.running.Run`).

    pages: that it looks at, and fills. live: for each of them, the bit mask of the slots that are context by now.
    position: where the next token stands. pending: that token, where the host knows it. left: how many are still to be
    drawn, of which some may be on their way. adjustment: biases and penalties (an `Adjustment` of the SDK), or None.
    guide: what tells which tokens may come next, or None. takes_best: the next token is the most probable one. top_k:
    of how many it is drawn otherwise, None is all. command: the `Decode`.
    """

    pending: int | None
    ended: bool
    adjustment: Any
    guide: Any
    tokens: Sequence[int]
    command: Any

    @property
    def left(self) -> int: ...

    @property
    def pages(self) -> Sequence[Any]: ...

    @property
    def live(self) -> Sequence[int]: ...

    @property
    def position(self) -> int: ...

    @property
    def takes_best(self) -> bool: ...

    @property
    def top_k(self) -> int | None: ...

    def next_slots(self, most: int) -> Sequence[tuple[int, int]]:
        """Of the tokens that are run next, the place among `pages` and the slot there."""
        ...

    def has_run(self) -> None:
        """The next one is launched."""
        ...

    def pick(self, record: Any) -> int:
        """The next token, drawn from a distribution as `output_text` gives it."""
        ...

    def take(self, token: int) -> None:
        """The next token is known."""
        ...


def is_plain(course: Course) -> bool:
    """Whether it wants no more of a pass than one that runs through the model as it is, after all before it."""
    command = course.command
    return command.adapter is None and command.mask is None and course.guide is None
