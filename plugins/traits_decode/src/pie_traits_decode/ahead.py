"""What a handler of `forward` may offer besides, for `decode`: steps whose tokens the host need not see one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from pie_traits_decode.running import Run


class Steps(Protocol):
    """Decodes that run by themselves. Device thread."""

    def takes(self, run: Run) -> bool:
        """Whether it can run this one from here on; one that is `adjusted`, only if it does that itself.

        Asked before each step, for the same answer once it was yes.
        """
        ...

    def step(self, runs: Sequence[Run]) -> None:
        """At least one more step of something: tokens go to `Run.take`, in order, maybe some steps later.

        Those that are not among `runs` any more have ended or were stopped. When a run has ended, its `oemb` holds the
        hidden state that its last token was drawn from.
        """
        ...


@runtime_checkable
class DecodesAhead(Protocol):
    """A handler of `forward` that may have such steps."""

    def open_steps(self) -> Steps | None:
        """They, or None if this model is better off without. Called once, when handlers are made."""
        ...
