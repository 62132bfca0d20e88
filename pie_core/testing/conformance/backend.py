"""What any backend promises by being one, whatever traits it has: constant facts, pools, limits, an end."""

from __future__ import annotations

from pie_core.command import Command, ControlCall
from pie_core.inference.backend import ANY, Backend
from pie_core.resource import Resource
from pie_core.testing.conformance.model_suite import ModelSuite
from pie_core.testing.conformance.suite import quick

SLOTS = range(8, 33)  # of a page


class BackendSuite(ModelSuite):
    """See `ModelSuite` for `make`. What the backend computes is the business of the suites of its traits."""

    @property
    def backend(self) -> Backend:
        """The one under test."""
        return self.subject.backend

    @quick
    def test_facts_about_the_model_are_whole_and_constant(self) -> None:
        info = self.backend.info
        assert info.name
        assert info.vocab_size > 0
        assert info.max_position > 0
        assert info.kvpage_size in SLOTS
        assert self.backend.info == info

    @quick
    def test_special_tokens_are_tokens(self) -> None:
        info = self.backend.info
        named = [*info.eos_tokens, *info.special_tokens, *([] if info.bos_token is None else [info.bos_token])]
        assert all(0 <= token < info.vocab_size for token in named)

    @quick
    def test_capacity_names_resource_kinds_and_is_constant(self) -> None:
        capacity = dict(self.backend.capacity)
        assert capacity
        assert all(isinstance(kind, type) and issubclass(kind, Resource) for kind in capacity)
        assert all(type(count) is int and count > 0 for count in capacity.values())
        assert dict(self.backend.capacity) == capacity

    @quick
    def test_every_command_has_a_batch_limit_of_one_or_more_that_is_constant(self) -> None:
        limits = {command: self.backend.batch_limit(command) for command in self._commands()}
        assert all(type(limit) is int and limit >= 1 for limit in limits.values())
        assert {command: self.backend.batch_limit(command) for command in limits} == limits

    @quick
    def test_the_device_is_described_for_people(self) -> None:
        assert self.backend.device.strip()

    @quick
    def test_every_trait_that_it_has_a_handler_for_is_realized(self) -> None:
        """A trait that this model cannot have is no failure of the backend; name it in `known_failures`.

        Of handlers for any backend nothing is said: what they need, the backend or the model may not have.
        """
        realization = self.subject.realization
        written = self._written_for()
        assert {trait: realization.reasons.get(trait) for trait in written if trait not in realization.traits} == {}

    @quick
    def test_every_call_of_a_realized_trait_has_an_answer(self) -> None:
        realization = self.subject.realization
        answered = set(realization.routes) | set(realization.answers)
        for trait in realization.traits.values():
            for call in trait.calls:
                assert call in answered or issubclass(call, ControlCall), call.signature().name

    @quick
    def test_pools_are_handed_out_whole_and_taken_back_whole(self) -> None:
        program = self.open_program()
        for kind, count in self.backend.capacity.items():
            handles = program.space.allocate(kind, count)
            indices = sorted(record.index for record in program.space.resolve(kind, handles, "test"))
            assert indices == list(range(count))
            program.space.free(kind, handles)
            assert self.rig.layer.pools[kind].free == count

    def test_close_lets_another_one_be_made_that_states_the_same_facts(self) -> None:
        first = self.open()
        facts = first.backend.info, dict(first.backend.capacity)
        first.close()
        second = self.open()
        try:
            assert (second.backend.info, dict(second.backend.capacity)) == facts
        finally:
            second.close()

    def test_one_that_is_closed_leaves_another_as_it_was(self) -> None:
        facts = self.backend.info, dict(self.backend.capacity), self.backend.device
        self.open().close()
        assert (self.backend.info, dict(self.backend.capacity), self.backend.device) == facts

    def _commands(self) -> list[type[Command]]:
        return list(self.subject.realization.routes)

    def _written_for(self) -> list[str]:
        known = self.subject.realization.known
        return [spec.trait_name for spec in self.handlers() if spec.backend != ANY and spec.trait_name in known]
