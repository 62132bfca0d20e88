"""A trait: a named, versioned group of calls that a backend can realize for a model."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from pie_core.command import Call, Command, Signature, call_name
from pie_core.errors import DeclarationError
from pie_core.resource import HostResource, Resource
from pie_core.schema import Access

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


@dataclass(frozen=True)
class Trait:
    """The declaration that a trait plugin registers. Everything else about the trait is derived from it.

    `requires` names the supertraits as requirement strings (``"allocate>=1,<2"``); `resources` the resource kinds
    this trait introduces. Raises `DeclarationError` for a declaration that cannot work, naming trait and call.
    """

    name: str
    version: str
    doc: str
    calls: tuple[type[Call], ...]
    requires: tuple[str, ...] = ()
    resources: tuple[type[Resource], ...] = ()
    signatures: dict[str, Signature] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise DeclarationError(f"trait {self.name!r}: a name is lower_snake_case")
        try:
            Version(self.version)
            for requirement in self.requires:
                Requirement(requirement)
        except (InvalidVersion, InvalidRequirement) as error:
            raise DeclarationError(f"trait {self.name!r}: {error}") from error
        signatures: dict[str, Signature] = {}
        for call in self.calls:
            signature = call.signature()
            if signature.name in signatures:
                raise DeclarationError(f"trait {self.name!r} declares call {signature.name!r} twice")
            signatures[signature.name] = signature
        for call in self.calls:
            if issubclass(call, Command):
                _check_place(self, call)
            if issubclass(call, Command) and call.batches_with is not None:
                _check_company(self, call, call.batches_with)
        object.__setattr__(self, "signatures", signatures)

    @property
    def supertraits(self) -> dict[str, Requirement]:
        """The required traits by name."""
        return {requirement.name: requirement for requirement in map(Requirement, self.requires)}


def _check_company(trait: Trait, command: type[Command], host: type[Command]) -> None:
    """Whether it is a supertrait's, the registry can tell; we can tell that a handler may take one for the other."""
    if not (host in trait.calls or issubclass(command, host)) or host.batches_with is not None:
        raise DeclarationError(
            f"trait {trait.name!r}: {call_name(command)} batches with {call_name(host)}, which is not a command of "
            "this trait with batches of its own, nor one of a supertrait that it is a subclass of; name one that is, "
            "or leave `batches_with` out"
        )


def _check_place(trait: Trait, command: type[Command]) -> None:
    """The device and the host do not wait for each other's launches, so neither writes what the other one does.

    But for commands that run in steps: what waits for one waits until it is done, as for one of the host.
    """
    if command.staged and command.place == "host":
        raise DeclarationError(
            f"trait {trait.name!r}: {call_name(command)} is staged and runs on the host, which is one thing too many; "
            "leave `staged` or `place` out"
        )
    for parameter in command.signature().parameters:
        kind, access = parameter.type.resource, parameter.type.access
        if kind is None or access not in (Access.READ, Access.WRITE):
            continue
        of_host = issubclass(kind, HostResource)
        if command.place == "host" and not of_host:
            raise DeclarationError(
                f"trait {trait.name!r}: {call_name(command)} runs on the host and names a {kind.kind}, which lives on "
                "the device"
            )
        if command.place == "device" and of_host and access is Access.WRITE and not command.stepwise:
            raise DeclarationError(
                f"trait {trait.name!r}: {call_name(command)} runs on the device and writes a {kind.kind}, which lives "
                'on the host; only commands whose `place` is "host", or that are `stepwise`, may'
            )
