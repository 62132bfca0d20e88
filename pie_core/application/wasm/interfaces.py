"""The host's side of the generated interfaces: a host function for each declared call, and those of `pie:core`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pie_core.application.interface import is_future
from pie_core.application.runtime import RUNTIME
from pie_core.application.wasm.linking import HostFunction, Interface
from pie_core.application.wasm.session import Session
from pie_core.application.wasm.tickets import WaitingForResult, WaitingForTickets
from pie_core.application.wasm.wit import kebab
from pie_core.command import Call
from pie_core.errors import ArgumentError, ResourceError
from pie_core.schema import Mask, ValueType
from pie_core.trait import Trait

_MOST_WAITED = 1 << 17  # tickets: all that may be open, and as many again that were forgotten
_BITS = [bytes(byte >> bit & 1 for bit in range(8)) for byte in range(256)]


@dataclass(frozen=True)
class SourceFile:
    """`source.file` of the WIT."""

    name: str
    text: str


def host_interfaces(traits: Iterable[Trait]) -> dict[str, Interface]:
    """By name without version: `pie:forward/forward`, `pie:core/tickets`, ... Guests are `Guest`s with a `session`."""
    found: dict[str, Interface] = {}
    for trait in traits:
        name = kebab(trait.name, trait.name)
        found[f"pie:{name}/{name}"] = _declared(trait)
    found["pie:core/types"] = {}
    found["pie:core/runtime"] = {**_declared(RUNTIME), "output": _function(Session.show)}
    found["pie:core/tickets"] = {
        "wait": HostFunction(_wait, suspends=True),
        "outcome": HostFunction(lambda guest, number: guest.session.tickets.outcome(number), suspends=True),
        "drop": _function(Session.drop),
    }
    found["pie:core/source"] = {"get": _function(lambda session: [SourceFile(*file) for file in session.files])}
    return found


def _function(run: Callable[..., Any]) -> HostFunction:
    return HostFunction(lambda guest, *arguments: run(guest.session, *arguments))


def _wait(guest: Any, numbers: Sequence[int]) -> WaitingForTickets:
    session: Session = guest.session
    if len(numbers) > _MOST_WAITED:  # wasmtime keeps the list, some 60 bytes for each, while the guest is suspended
        raise ResourceError(
            f"wait: {len(numbers)} tickets are more than the {_MOST_WAITED} that can be waited for at once"
        )
    return session.tickets.wait(numbers)


def _declared(trait: Trait) -> Mapping[str, HostFunction]:
    functions: dict[str, HostFunction] = {}
    for call in trait.calls:
        signature = call.signature()
        name = kebab(signature.name, trait.name)
        functions[name] = HostFunction(_caller(call))
        if is_future(call) and signature.returns.name != "none":
            functions[f"{name}-result"] = HostFunction(_taker(signature.name), suspends=True)
    return functions


def _caller(call: type[Call]) -> Callable[..., Any]:
    """The host function of a call: (guest, queue or model, arguments...)."""
    signature = call.signature()
    name = signature.name
    masks = [place for place, parameter in enumerate(signature.parameters) if _is_mask(parameter.type)]

    def values(arguments: tuple[Any, ...]) -> Sequence[Any]:
        if not masks:
            return arguments
        made = list(arguments)
        for place in masks:
            if made[place] is not None:
                made[place] = _unpacked(made[place], name)
        return made

    future = is_future(call)

    def session_of(guest: Any) -> Session:
        session: Session = guest.session
        if future:
            session.tickets.check_room()
        return session

    def on_queue(guest: Any, number: int, *arguments: Any) -> Any:
        session = session_of(guest)
        model, queue = session.queue(number)
        return session.answer(session.host.call(name, model, queue, values(arguments)), name)

    def on_model(guest: Any, model: str, *arguments: Any) -> Any:
        session = session_of(guest)
        return session.answer(session.host.call(name, model, None, values(arguments)), name)

    def create_queue(guest: Any, model: str) -> int:
        session: Session = guest.session
        return session.add_queue(model, session.host.call(name, model, None, ()))

    def plain(guest: Any, *arguments: Any) -> Any:
        session = session_of(guest)
        return session.answer(session.host.call(name, None, None, values(arguments)), name)

    if name == "create_queue":
        return create_queue
    by_target: Mapping[str, Callable[..., Any]] = {"queue": on_queue, "model": on_model, "none": plain}
    return by_target[signature.target]


def _taker(name: str) -> Callable[..., WaitingForResult]:
    def take(guest: Any, number: int) -> WaitingForResult:
        session: Session = guest.session
        return session.tickets.result(number, name)

    return take


def _is_mask(kind: ValueType) -> bool:
    return kind.name in ("mask", "option<mask>")


def _unpacked(record: Any, call: str) -> Mask:
    """A mask of bits as a mask of bytes."""
    count = record.rows * record.cols
    if len(record.data) != -(-count // 8):
        raise ArgumentError(
            f"{call}: a mask of {record.rows}x{record.cols} has {-(-count // 8)} bytes of bits, not {len(record.data)}"
        )
    return Mask(record.rows, record.cols, b"".join([_BITS[byte] for byte in record.data])[:count])
