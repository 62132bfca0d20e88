"""The cases that follow from a trait's declaration alone: every call, called wrongly in every way its types allow.

A wrong call is refused with an error that names the argument, and leaves all books as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pie_core.command import Call, Command, Parameter, Signature
from pie_core.errors import ArgumentError, HandleError, PieError, TerminatedError
from pie_core.resource import KvPage, Resource
from pie_core.schema import Access, ValueType
from pie_core.testing.conformance.suite import quick
from pie_core.testing.conformance.values import can_be_made, plausible, wrong
from pie_core.testing.rig import Program
from pie_core.trait import Trait

if TYPE_CHECKING:
    from pie_core.testing.conformance.trait import TraitSuite

Case = Callable[["TraitSuite"], None]


def derived_cases(trait: Trait) -> dict[str, Case]:
    """The cases by name (`test_CALL_...`), for every call that can go wrong that way."""
    cases: dict[str, Case] = {}
    for call in trait.calls:
        name = call.signature().name
        for claim, case in _cases_of(call):
            cases[f"test_{name}_{claim}"] = quick(case)
    return cases


def _cases_of(call: type[Call]) -> Iterator[tuple[str, Case]]:
    signature = call.signature()
    if not all(map(can_be_made, signature.parameters)):
        return  # a required record: only the trait's own cases know a value
    yield "refuses_too_few_and_too_many_arguments", lambda suite: _count(suite, signature)
    if signature.parameters:
        yield "refuses_arguments_of_wrong_types", lambda suite: _types(suite, signature)
    if any(parameter.type.resource for parameter in signature.parameters):
        yield "refuses_handles_that_are_not_its_own", lambda suite: _handles(suite, signature)
    if any(p.type.access is Access.WRITE and p.type.resource is KvPage for p in signature.parameters):
        yield "refuses_to_write_what_is_shared", lambda suite: _shared(suite, signature)
    if issubclass(call, Command):
        yield "needs_a_queue_of_its_own", lambda suite: _queue(suite, signature)
    yield "is_refused_once_the_inferlet_has_ended", lambda suite: _ended(suite, signature)


class _World:
    """An inferlet with a live, a freed and a foreign handle of every resource kind, and a page that is shared."""

    def __init__(self, suite: TraitSuite) -> None:
        self._suite = suite
        self.layer = suite.rig.layer
        self.mine, other = suite.open_program("mine"), suite.open_program("other")
        self.live: dict[type[Resource], list[int]] = {}
        self.bad: dict[type[Resource], dict[str, int]] = {}
        for kind in self.layer.kinds:
            live, gone = self.mine.space.allocate(kind, 2)
            self.mine.space.free(kind, [gone])
            self.live[kind] = [live]
            self.bad[kind] = {"freed": gone, "foreign": other.space.allocate(kind, 1)[0], "unknown": 1 << 31}
        for kind, bad in self.bad.items():
            bad |= {f"{other.kind}": self.live[other][0] for other in self.layer.kinds if other is not kind}
        self.shared = self.mine.space.allocate(KvPage, 1) if KvPage in self.live else []
        if self.shared:
            self.mine.space.export(self.shared, "shared", None)
        suite.rig.loop.run()

    def arguments(self, signature: Signature) -> list[Any]:
        return [plausible(parameter, self.handles) for parameter in signature.parameters]

    def handles(self, kind: ValueType) -> list[int]:
        assert kind.resource is not None
        return list(self.live[kind.resource])

    def call(self, signature: Signature, arguments: list[Any]) -> Any:
        return _call(self.mine, signature, arguments)

    def check_refused(self, signature: Signature, arguments: list[Any], words: tuple[str, ...] = ()) -> PieError:
        __tracebackhide__ = True
        error = self._suite.check_refused(ArgumentError, self.call, signature, arguments)
        assert all(word in str(error) for word in words), f"the message does not name {words}: {error}"
        return error


def _call(program: Program, signature: Signature, arguments: list[Any]) -> Any:
    return program.space.call(signature.name, program.q if signature.target == "queue" else None, arguments)


def _count(suite: TraitSuite, signature: Signature) -> None:
    world = _World(suite)
    arguments = world.arguments(signature)
    world.check_refused(signature, [*arguments, 1], (signature.name, "arguments"))
    required = sum(parameter.required for parameter in signature.parameters)
    if required:
        world.check_refused(signature, arguments[: required - 1], (signature.name, "arguments"))


def _types(suite: TraitSuite, signature: Signature) -> None:
    world = _World(suite)
    for place, parameter in enumerate(signature.parameters):
        for value in wrong(parameter.type):
            arguments = world.arguments(signature)
            arguments[place] = value
            world.check_refused(signature, arguments, (signature.name, f"`{parameter.name}`"))


def _handles(suite: TraitSuite, signature: Signature) -> None:
    world = _World(suite)
    for place, parameter in _handle_parameters(signature):
        assert parameter.type.resource is not None
        for handle in world.bad[parameter.type.resource].values():
            for given in ([handle], [*world.handles(parameter.type), handle]):
                arguments = world.arguments(signature)
                arguments[place] = given
                error = world.check_refused(signature, arguments, (str(handle),))
                assert isinstance(error, HandleError)


def _shared(suite: TraitSuite, signature: Signature) -> None:
    world = _World(suite)
    for place, parameter in _handle_parameters(signature):
        if parameter.type.access is Access.WRITE and parameter.type.resource is KvPage:
            arguments = world.arguments(signature)
            arguments[place] = world.shared
            world.check_refused(signature, arguments, ("shared",))


def _queue(suite: TraitSuite, signature: Signature) -> None:
    world = _World(suite)
    foreign = suite.open_program("third").q
    for queue in (None, foreign, 1 << 31):
        arguments = world.arguments(signature)
        error = suite.check_refused(ArgumentError, world.mine.space.call, signature.name, queue, arguments)
        assert "queue" in str(error)


def _ended(suite: TraitSuite, signature: Signature) -> None:
    world = _World(suite)
    arguments = world.arguments(signature)
    if world.shared:
        world.mine.space.release("shared")
    world.layer.close(world.mine.space)
    suite.rig.loop.run()
    suite.check_refused(TerminatedError, world.call, signature, arguments)


def _handle_parameters(signature: Signature) -> Iterator[tuple[int, Parameter]]:
    for place, parameter in enumerate(signature.parameters):
        if parameter.type.resource is not None:
            yield place, parameter
