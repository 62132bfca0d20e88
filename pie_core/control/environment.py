"""What the control layer is told instead of knowing it: so it can be simulated, and decides the same twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pie_core.control.space import Space
    from pie_core.errors import TerminatedError


@dataclass(frozen=True)
class Environment:
    """Time, the event loop, and whom to tell of an eviction.

    `now` gives seconds; `soon` runs a function after everything that is ready to run now (`loop.call_soon`);
    `evicted` is told of an inferlet that was ended, after its resources were taken; `later` runs a function after so
    many seconds (`loop.call_later`).
    """

    now: Callable[[], float]
    soon: Callable[[Callable[[], None]], object]
    evicted: Callable[[Space, TerminatedError], None]
    later: Callable[[float, Callable[[], None]], object]
