"""Commands that fail on the device because their own arguments say so, whatever they share a batch with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pie_core.command import Command
from pie_core.inference.running import Route
from pie_core.testing.fake import FakeBackend, digest

# Arguments that are marked: the first of each makes the handler raise, the second makes it give too few results.
BAD_TOKENS = frozenset({250, 251})  # embed_txt of them fails
BAD_INPUTS = frozenset({252, 253})  # embed_txt of them runs; forward over what it wrote fails
BAD_DISTS = frozenset({50, 51})  # get_next_dist with this top_k fails
_TOO_FEW = frozenset({251, 253, 51})


class Workshop:
    """Routes to a `FakeBackend` that fail marked commands, and keep what each command came to.

    answers: the last result of a command, by the command's id. failed: ids of the commands that failed when they ran
    alone. A route raises before it changes anything, as handlers must that are to be run again.
    """

    def __init__(
        self, backend: FakeBackend, routes: Mapping[type[Command], Route], failing: Mapping[str, int | None]
    ) -> None:
        """failing: by call, which of its commands fails, counted from 0, whatever its arguments are."""
        self.answers: dict[int, Any] = {}
        self.failed: set[int] = set()
        self._kept: list[Sequence[Command]] = []  # so that no id is used twice
        self._backend = backend
        self._failing = failing
        self._seen: dict[str, dict[int, int]] = {name: {} for name in failing}  # commands by id, numbered
        self.routes: dict[type[Command], Route] = {kind: self._wrap(route) for kind, route in routes.items()}

    def mark(self, command: Any) -> int | None:
        """The mark that a command carries, if it carries one."""
        name = type(command).signature().name
        if name in self._failing:
            seen = self._seen[name]
            return 250 if seen.setdefault(id(command), len(seen)) == self._failing[name] else None
        if name == "embed_txt":
            return next((token for token in command.tok if token in BAD_TOKENS), None)
        if name == "get_next_dist":
            return command.top_k if command.top_k in BAD_DISTS else None
        if name == "copy_kvpage":
            return 250 if command.src_start == 1 and command.length == 0 and command.src else None
        if name == "linger":
            return 250 + command.fails_at % 2 if command.fails_at == len(command.seen) else None
        if name == "forward":
            held = [self._backend.embeds.get(embed.index) for embed in command.iemb]
            return next((token for token in BAD_INPUTS if digest("token", token) in held), None)
        return None

    def _wrap(self, route: Route) -> Route:
        def run(commands: Sequence[Command]) -> Sequence[Any] | None:
            self._kept.append(commands)
            marks = [self.mark(command) for command in commands]
            if any(mark is not None for mark in marks):
                if len(commands) == 1:
                    self.failed.add(id(commands[0]))
                if any(mark in _TOO_FEW for mark in marks):
                    return [None] * (len(commands) - 1)
                raise RuntimeError("a marked command")
            answers = route(commands)
            for place, command in enumerate(commands):
                self.answers[id(command)] = None if answers is None else answers[place]
            return answers

        return run
