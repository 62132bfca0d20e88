"""What a policy plugin registers: a name, its options, and how to make it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec


class NoOptions(msgspec.Struct, frozen=True):
    """For policies that have nothing to set."""


@dataclass(frozen=True)
class PolicySpec:
    """A dispatch or contention policy, by its entry point's group.

    `options` is a msgspec Struct whose fields are the settings of `--dispatch-option` or `--contention-option`; its
    defaults must work. `make` gets an instance of it and returns the policy (`control/dispatch.py: DispatchPolicy`,
    `control/contention.py: ContentionPolicy`); it raises `ConfigError` for a value that cannot be used. Called once
    for each loaded model: a policy may keep state of that model.
    """

    name: str
    doc: str
    make: Callable[[Any], Any]
    options: type[msgspec.Struct] = NoOptions
