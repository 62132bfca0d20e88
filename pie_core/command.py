"""How a call is declared: a class whose fields are its arguments.

Three kinds, by who answers:

`Command`      goes into a queue, is batched with others of its kind and run by the backend's handler on the device;
               or, if it says so, on a thread of the host.
`Query`        is answered at once, on the host, by the backend's handler (tokenize, get_kvpage_size).
`ControlCall`  is answered at once by its own `apply`, against the control layer's books (alloc, export).

From the fields generic code derives the argument checks, the translation of handles, the dependencies that batching
respects, the WIT interface, the SDK function and the reference page. Nothing about a call is written twice.
"""

from __future__ import annotations

import keyword
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeVar

import msgspec

from pie_core.errors import DeclarationError
from pie_core.resource import Resource
from pie_core.schema import Access, ValueType, value_type

if TYPE_CHECKING:
    from pie_core.control.space import Space
    from pie_core.model import ModelInfo

R = TypeVar("R", bound=Resource)
T = TypeVar("T")


@dataclass(frozen=True)
class _Plan:
    """Marks a field that `prepare` fills in; the guest neither sees nor passes it."""


Reads = Annotated[tuple[R, ...], Access.READ]
Writes = Annotated[tuple[R, ...], Access.WRITE]
Planned = Annotated[T, _Plan()]


class _Unfinished(Enum):
    UNFINISHED = "unfinished"


UNFINISHED: Final[Literal[_Unfinished.UNFINISHED]] = _Unfinished.UNFINISHED
"""What a handler gives instead of a result for a command that has not ended with this step (`Command.stepwise`)."""

Target = Literal["queue", "model", "none"]
Place = Literal["device", "host"]


@dataclass(frozen=True)
class Parameter:
    """One argument as a guest sees it."""

    name: str
    type: ValueType
    required: bool
    default: Any = None


@dataclass(frozen=True)
class Signature:
    """What the fields of a call say, read once when the class is made."""

    name: str
    target: Target
    parameters: tuple[Parameter, ...]
    returns: ValueType
    doc: str


class Call(msgspec.Struct, eq=False):
    """Base of all declared calls. Class attributes:

    `target`   what the guest passes first: a "queue", a "model", or "none" at all.
    `returns`  the type of the result (an annotation); `None` for none.
    """

    target: ClassVar[Target] = "queue"
    returns: ClassVar[Any] = None

    @classmethod
    def signature(cls) -> Signature:
        """The declaration as data. Cheap after the first time."""
        cached: Signature | None = cls.__dict__.get("_signature")
        if cached is None:
            cached = _read_signature(cls)
            cls._signature = cached  # type: ignore[attr-defined]
        return cached


class Command(Call):
    """A call that is queued, batched and run on the device.

    `place`   "host": it runs on a thread of the host instead, beside the device, alone: for work that is too long for
              the control thread and needs no tensor. It touches resources of the host only (`HostResource`), and only
              such commands, and those that are `stepwise`, write those.
    `heavy`   one launch costs about the same whatever its size (a forward pass): batching waits for company among the
              commands that can be made ready first, and a wave holds one batch of it.
    `staged`  it has a part for the host: as soon as it is enqueued the handler's method `stage_NAME` is called with it
              alone, on a thread of the host, and only then may the device have it. For what takes too long for the
              other threads and concerns no other command (decoding a picture): what it makes is put into a planned
              field. If it raises, the command fails and never runs.
    `stepwise`  it runs in steps, as many as it takes (decoding): its handler's method gets all commands of this class
              that are running, again and again, and gives `UNFINISHED` for those that go on. Others join and leave
              between steps, and waves of other commands run there, too. What waits for it waits until it is done; then
              `conclude` is called. If its inferlet ends it is stopped at the next step, unless others want what it
              writes (an export).
    `rides`   another command, in whose batches one that is `stepwise` can take its steps where there are any; its
              handler then has methods `ride_NAME` and `rode_NAME` (`inference/stepping.py: Ride`).
    `batches_with`   another command of the same trait whose batches this one joins, for work that is the same but for a
              detail; `None`: batches of its own. What the other one says of `heavy`, `stepwise` and `rides` and the
              backend of its limit then holds for both, and the backend's method for the other one gets them mixed. A
              handler that can do so has a method of this command's name as well, usually the same function. It may be
              a command of a supertrait, too, if this one is a subclass of it: `class Mine(Theirs, kw_only=True)`, where
              what is required of the new fields comes before all that is not.
    """

    place: ClassVar[Place] = "device"
    heavy: ClassVar[bool] = False
    staged: ClassVar[bool] = False
    stepwise: ClassVar[bool] = False
    rides: ClassVar[type[Command] | None] = None
    batches_with: ClassVar[type[Command] | None] = None

    @classmethod
    def batch_kind(cls) -> type[Command]:
        """The kind under which commands of this class are batched, launched, limited and counted."""
        return cls.batches_with or cls

    @property
    def weight(self) -> int:
        """Size for the batch limit, in the backend's unit (tokens for forward, rows for the rest).

        Of a `stepwise` command that has ended: what it has done.
        """
        return 1

    def prepare(self, model: ModelInfo) -> None:
        """Check what the types cannot say and plan the command, on the host, when it is enqueued.

        It may take resources out of its own fields that it finds it will not touch: what the fields name afterwards is
        what batching takes into account.
        Handles are already resources. Every check must come before the first change to their books, so that a refused
        command leaves no trace. Raises `ArgumentError`. Called once, in program order, from the control thread.
        """

    def conclude(self, result: Any) -> None:
        """A `stepwise` command is done: bring the books up to what it has done.

        result: what its program gets; None if it failed, was stopped, or never ran. Called once, from the control
        thread, before anything that waits for it may be launched.
        """


class Query(Call):
    """A call that the backend's handler answers at once, on the host, from the control thread."""


class ControlCall(Call):
    """A call that the control layer answers at once; no backend is involved."""

    def apply(self, space: Space) -> Any:
        """Do it to the inferlet's address space. Raises `PieError`; then nothing was changed."""
        raise NotImplementedError


def call_name(cls: type[Call]) -> str:
    """``GetNextDist`` -> ``get_next_dist``; a class may say `name` itself where the words are joined otherwise."""
    explicit = getattr(cls, "name", None)
    if isinstance(explicit, str):
        return explicit
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


def _read_signature(cls: type[Call]) -> Signature:
    name = call_name(cls)
    if not (cls.__doc__ or "").strip():
        raise DeclarationError(f"call {name!r} ({cls.__module__}) has no docstring; it becomes the reference page")
    if issubclass(cls, Command) and cls.target != "queue":
        raise DeclarationError(f"command {name!r} ({cls.__module__}) has target {cls.target!r}; commands go to a queue")
    return Signature(
        name=name,
        target=cls.target,
        parameters=tuple(_read_parameters(cls, name)),
        returns=value_type(cls.returns if cls.returns is not None else type(None), f"{name} -> result"),
        doc=typing.cast(str, cls.__doc__).strip(),
    )


def _read_parameters(cls: type[Call], name: str) -> list[Parameter]:
    """Those that are required first: a subclass may have added some behind others that are not."""
    return sorted(_parameters_of(cls, name), key=lambda parameter: not parameter.required)


def _parameters_of(cls: type[Call], name: str) -> Iterator[Parameter]:
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in msgspec.structs.fields(cls):
        annotation = hints[field.name]
        if any(isinstance(note, _Plan) for note in getattr(annotation, "__metadata__", ())):
            continue
        if keyword.iskeyword(field.name) or field.name.startswith("_") or field.name in ("q", "model"):
            raise DeclarationError(f"{name}({field.name}): a parameter cannot be named like this")
        default = None if field.default is msgspec.NODEFAULT else field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        yield Parameter(field.name, value_type(annotation, f"{name}({field.name})"), field.required, default)
