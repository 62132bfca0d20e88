"""What a handler of `forward` may offer besides, for `decode`: to run and to draw steps by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from pie_traits_decode.running import Run


class Steps(Protocol):
    """Steps of decodes from one token to the next, without the commands of other traits. Device thread.

    apart: decodes stay here from their first step to the end, and tokens may come later than their steps. If it is not
    so, each step has been drawn when `step` returns, and the next one may be run as part of another pass.
    """

    apart: bool

    def takes(self, run: Run) -> bool:
        """Whether it can run this one's next step, and if they stay `apart` all behind it.

        One that is `adjusted`, only if it does that itself. Asked before each step; if they stay `apart`, for the same
        answer once it was yes.
        """
        ...

    def step(self, runs: Sequence[Run]) -> None:
        """At least one more step of something: tokens go to `Run.take`, in order.

        Those that are not among `runs` any more have ended or were stopped (or their step was run otherwise, if they
        are not `apart`). When a run has ended, its `oemb` holds the hidden state that its last token was drawn from.
        If it fails, no run has lost anything: each can be stepped again, here or otherwise.
        """
        ...


@runtime_checkable
class OwnSteps(Protocol):
    """A handler of `forward` that may have such steps."""

    def open_steps(self) -> Steps | None:
        """They, or None if this model is better off without. Called once, when handlers are made."""
        ...
