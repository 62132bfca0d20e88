"""The seam between the control layer and a backend: what a backend must offer.

A backend is one loaded model on one device, with the pools of every resource allocated at start. It is made of a
`Backend` (facts and lifetime) and one handler per trait (the work). Handlers may come from other packages than the
backend: whoever publishes a new trait also publishes handlers for the backends it knows, and one for any other backend
where the trait can be had from what its supertraits do (`ANY`).

A handler is a plain object with one method per call of its trait, named like the call:

    def forward(self, batch: Sequence[Forward]) -> Sequence[Result] | None      a Command
    def tokenize(self, query: Tokenize) -> list[int]                            a Query

Command methods run on the device thread, one batch at a time, in launch order; they may keep the device busy after
returning only if later batches are ordered behind them. They return one result per command, in order, or `None` if
the command declares none. A command that says `batches_with` comes to the method of the command it names, among those;
of a supertrait's, too.
The commands of one batch do not depend on each other. They must not touch the books of a
resource except `index`, must not keep a command after returning, and must give each command a result that does not
depend on what else is in the batch. An exception fails the batch; the device thread then runs its commands one by
one, so that only the culprit sees it: a method must therefore be safe to run again after it raised.

The methods of commands of the host (`Command.place`) get batches of one, on several threads at once, never two that
touch the same resource. What a resource of the host holds is theirs. They must end within a second or so whatever a
program passes them: a thread cannot be stopped.

A command that is `staged` has a second method, `stage_NAME(command)`, called before with the command alone on a thread
of the host, under the same rules; it may fill in planned fields of the command.

The method of a command that is `stepwise` gets all commands of that class that are running, and does one step of each:
it returns a result for a command that has ended with it, and `UNFINISHED` for one that goes on. What it has to remember
until the next step it keeps in a planned field. If it raises, it is called again for each command alone; so it must go
on where it was. It may be left without notice: a command is stopped when its inferlet ends.

Query methods run on the control thread between commands: they must be quick and must not touch the device.

A backend may also offer a `Swapper`, which moves resources to host memory and back. With it the contention policy can
let inferlets that wait lend their pages to those that can run, instead of ending one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from packaging.requirements import InvalidRequirement, Requirement

from pie_core.command import Command
from pie_core.errors import DeclarationError
from pie_core.model import ModelInfo, ModelSpec
from pie_core.resource import Resource

ANY = "any"
"""Instead of a backend's name: for every backend that has no handler of its own for the trait."""

Progress = Callable[[str, float | None], None]
"""Called while a model loads with the stage ("weights") and the share done in 0..1, or None where it is unknown."""


class Swapper(Protocol):
    """Moves resources between the pools and host memory. An optional part of a backend.

    Both methods run on the device thread, in launch order with everything else: what was launched before has written
    what is copied out, and what is launched later finds what was copied in. The control layer sees to the rest: no
    command in flight touches what is moved, nobody else holds it, an index is handed out again only after its copy is
    complete, and host memory is bounded. A copy may stay in host memory for as long as its inferlet lives, and is
    dropped without notice when nobody needs it any more.
    """

    @property
    def bytes_of(self) -> Mapping[type[Resource], int]:
        """Host bytes that one resource takes, for every kind that can be moved. Constant; any thread."""
        ...

    def swap_out(self, kind: type[Resource], indices: Sequence[int]) -> object:
        """A copy in host memory of all that the pool holds for these indices, to the bit, positions included.

        What the pool holds there afterwards does not matter, but for when this raises: then the resources stay where
        they are, and nothing is swapped any more.
        """
        ...

    def swap_in(self, kind: type[Resource], copy: object, indices: Sequence[int | None]) -> None:
        """Write a copy back: its n-th resource to the n-th index, or nowhere if that is None.

        The indices may be others than before. If it raises, the resources are lost; the inferlet is told.
        """
        ...


class Backend(ABC):
    """A loaded model. Made by `BackendSpec.load`; used from the control thread unless said otherwise."""

    @property
    @abstractmethod
    def info(self) -> ModelInfo:
        """Facts about the model. Constant."""

    @property
    @abstractmethod
    def capacity(self) -> Mapping[type[Resource], int]:
        """How many of each resource the pools hold; physical indices run from 0. Constant."""

    @abstractmethod
    def batch_limit(self, command: type[Command]) -> int:
        """The largest total `weight` of one batch of this command. A single heavier command still runs, alone."""

    @property
    @abstractmethod
    def device(self) -> str:
        """What the tensors live on, for people: "cpu (2 threads, float32)"."""

    @property
    def swapper(self) -> Swapper | None:
        """Moves resources to host memory and back; None if this backend cannot. Constant."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Free everything. Called once, after the device thread has ended."""


@dataclass(frozen=True)
class BackendSpec:
    """What a backend plugin registers.

    `options` is a msgspec Struct whose fields are the settings that `--option name=value` sets; its defaults must
    work. `load` checks the checkpoint and the memory before it allocates, reports progress, and raises
    `CheckpointError`, `UnsupportedError`, `ConfigError` or `ResourceError`. It may take minutes; it is called from a
    worker thread. `default`: use this one where several backends are installed and nobody names one.
    """

    name: str
    doc: str
    options: type[msgspec.Struct]
    load: Callable[[ModelSpec, Any, Progress], Backend]
    default: bool = False

    def __post_init__(self) -> None:
        if self.name == ANY:
            raise DeclarationError(f"a backend cannot be named {ANY!r}: handlers of that name are for any backend")


@dataclass(frozen=True)
class Foundation:
    """What a handler for any backend is built on: the backend's facts, and the handlers of the trait's supertraits.

    handlers: by trait, those of supertraits of supertraits too. Their methods follow the rules above: those of commands
    are for the device thread.
    """

    backend: Backend
    handlers: Mapping[str, Any]


@dataclass(frozen=True)
class HandlerSpec:
    """One trait realized on one backend.

    `trait` is a requirement string with the versions the handler was written for ("forward>=1,<2"). `build` gets the
    loaded backend, or for backend `ANY` a `Foundation`, and returns the handler; it raises `UnsupportedError` if this
    model cannot have the trait, which is then simply not among its `available_traits` (the reason is kept for the
    message to a program that asks). A handler that holds something (a process, say) has a `close()`, called once, when
    the device has stopped and the backend is still there. One that puts off what not every server needs has a
    `warm_up()`: called on a thread of the host before the first program that needs the trait begins, by several such
    programs at once if need be, and again if it raised, which refused the program.
    """

    trait: str
    backend: str
    build: Callable[[Any], object]
    package: str = ""  # filled in by the loader
    optional: bool = False  # so is this: of another package than the backend; failing costs its trait, not the start

    def __post_init__(self) -> None:
        try:
            Requirement(self.trait)
        except InvalidRequirement as error:
            raise DeclarationError(f"handler for trait {self.trait!r}: {error}") from error

    @property
    def trait_name(self) -> str:
        """The trait it is for."""
        return Requirement(self.trait).name

    def handles(self, version: str) -> bool:
        """Whether it was written for this version of the trait."""
        return Requirement(self.trait).specifier.contains(version, prereleases=True)
