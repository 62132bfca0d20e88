"""The seam to what runs programs: the trusted tier in this process, or the sandbox."""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import dataclass
from typing import Protocol

from pie_core.application.host import Host
from pie_core.application.manifest import Manifest
from pie_core.application.program import Program


@dataclass(frozen=True)
class Prepared:
    """What is known of a program before it runs."""

    manifest: Manifest
    calls: Collection[str] = ()  # that its source uses, of those asked about
    traits: Collection[str] = ()  # that it imports as a component


class Tier(Protocol):
    """Runs inferlets. Whatever it does, every call of a program goes through its `Host`."""

    name: str
    isolates: bool  # whether programs are sandboxed; then they may be components
    most_bytes: int | None  # that one call of a program can carry; None: any number

    async def warm_up(self) -> None:
        """Do now what the first program would wait for. Raises `PieError`."""
        ...

    async def prepare(self, program: Program, known: Set[str]) -> Prepared:
        """Check and, if it can be costly, compile a program before it is launched.

        known: names of calls; which of them the source uses is told. Raises `ProgramError` and `TraitError`.
        """
        ...

    async def run(self, host: Host) -> str | None:
        """Run the program of `host.inferlet` to its end; the text that it returned.

        Cancelled to stop it: then all it started must be stopped when this ends. Raises `ProgramError` with the
        program's own traceback if it fails.
        """
        ...

    def close(self) -> None:
        """Nothing will be run any more."""
        ...
