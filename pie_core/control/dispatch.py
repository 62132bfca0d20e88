"""When to launch: the dispatch policy, and the paper's, which is the default."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pie_core.control.batching import Backlog
from pie_core.control.policy import PolicySpec
from pie_core.hookspecs import hookimpl


class DispatchPolicy(ABC):
    """Asked whenever something changed: a command became ready, a wave ended, or a look was due.

    Says *when* a wave is launched; what goes into it is `batching.form_wave`'s business: all that is ready by then and
    fits. Waves run in the order they are launched, so a policy may launch while others are in flight.

    immediate: ask also within the call that enqueues a command, before the next one can come.
    """

    name: ClassVar[str]
    immediate: ClassVar[bool] = False

    @abstractmethod
    def due(self, backlog: Backlog, *, idle: bool, quiet: bool, now: float) -> bool | float:
        """Whether to form and launch a wave now. `backlog` is not empty.

        idle: no wave is in flight. quiet: every inferlet that could run has run since the last command arrived, so
        that nothing more will come until the device answers, or someone outside. now: seconds on the control layer's
        clock.

        True: now. False: ask again when something has changed. A time, later than `now`: ask again then, and when
        something has changed before.
        """


class Adaptive(DispatchPolicy):
    """The default, the paper's: as soon as the device is idle, with all that is ready by then. Work-conserving."""

    name = "adaptive"

    def due(self, backlog: Backlog, *, idle: bool, quiet: bool, now: float) -> bool:
        """Idle device, and the inferlets that were just woken have had their say."""
        return idle and quiet


ADAPTIVE = PolicySpec("adaptive", "Launch when the device is idle, with all that is ready.", lambda options: Adaptive())


@hookimpl
def pie_dispatch() -> PolicySpec:
    """The default."""
    return ADAPTIVE
