"""The conformance suite of the trait, for whoever realizes it on another backend.

from pie_trait_introspective_forward.testing import IntrospectiveForwardSuite

class TestMine(IntrospectiveForwardSuite):
    def make(self):
        return asyncio.run(installed_model("tiny-checkpoint", "mine", pages=64, embeds=512))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pie_core import ArgumentError, PieError, hookimpl
from pie_core.testing.conformance import TraitSuite, quick
from pie_trait_introspective_forward.declaration import INTROSPECTIVE_FORWARD, Attention

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
ALL: list[int] = []  # layers


class IntrospectiveForwardSuite(TraitSuite):
    """What is told agrees with itself and with `forward`. That it is the model's attention, an oracle has to say.

    tolerance: of a weight. The default is for float32.
    """

    trait = INTROSPECTIVE_FORWARD
    uses = ("forward", "input_text", "output_text")
    tolerance = 1e-4

    @quick
    def test_the_pass_is_that_of_forward(self) -> None:
        program = self.open_program()
        dists = []
        for call in ("forward", "forward_with_attention"):
            embeds = program.prompt(TOKENS)
            program.call(call, [], embeds, self.pages(program, len(TOKENS)), embeds)
            dists.append(self.get(program, "get_next_dist", embeds[-1:], None))
        assert list(dists[0].ids) == list(dists[1].ids)
        assert list(dists[0].probs) == list(dists[1].probs)

    @quick
    def test_the_columns_of_a_head_add_up_to_the_tokens(self) -> None:
        told = self.whole(per_head=True)
        assert told.columns == len(TOKENS) and told.heads > 0 and told.layers > 0
        for row in _rows(told):
            assert min(row) >= 0.0
            assert sum(row) <= len(TOKENS) * (1 + self.tolerance)  # less where the model has attention sinks

    @quick
    def test_heads_that_are_added_up_are_the_sum_of_each(self) -> None:
        apart, together = self.whole(per_head=True), self.whole()
        assert (together.layers, together.heads, together.columns) == (apart.layers, 1, apart.columns)
        rows = _rows(apart)
        sums = [
            [sum(column) for column in zip(*rows[at : at + apart.heads], strict=True)]
            for at in range(0, len(rows), apart.heads)
        ]
        self.check_near(_rows(together), sums, len(TOKENS) * apart.heads)

    @quick
    def test_layers_come_in_the_order_they_are_asked_for(self) -> None:
        every = _rows(self.whole())
        last = len(every) - 1
        self.check_near(_rows(self.whole([last, 0])), [every[last], every[0]], len(TOKENS))

    @quick
    def test_two_passes_look_as_much_as_one(self) -> None:
        program = self.open_program()
        pages, embeds = self.pages(program, len(TOKENS)), program.prompt(TOKENS)
        first = self.get(program, "forward_with_attention", [], embeds[:5], pages, [], None, ALL, True)
        then = self.get(program, "forward_with_attention", pages, embeds[5:], pages, [], None, ALL, True)
        assert (first.columns, then.columns) == (5, len(TOKENS))
        sums = [
            [a + b for a, b in zip([*one, *[0.0] * (len(TOKENS) - 5)], other, strict=True)]
            for one, other in zip(_rows(first), _rows(then), strict=True)
        ]
        self.check_near(_rows(self.whole(per_head=True)), sums, len(TOKENS))

    @quick
    def test_a_hidden_token_keeps_its_column_and_gets_nothing(self) -> None:
        program = self.open_program()
        pages, embeds = self.pages(program, len(TOKENS)), program.prompt(TOKENS)
        program.call("forward", [], embeds[:-1], pages, [])
        program.call("mask_kvpage", pages, [place not in (2, 5) for place in range(len(TOKENS) - 1)])
        told = self.get(program, "forward_with_attention", pages, embeds[-1:], pages, [])
        assert told.columns == len(TOKENS)
        for row in _rows(told):
            assert {place for place, weight in enumerate(row) if weight == 0.0} >= {2, 5}
            assert max(row) > 0.0

    @quick
    def test_what_a_mask_does_not_show_gets_nothing(self) -> None:
        program = self.open_program()
        pages, embeds = self.pages(program, 4), program.prompt(TOKENS[:4])
        mask = [[column == 1 for column in range(4)] for _ in range(4)]
        told = self.get(program, "forward_with_attention", [], embeds, pages, [], mask, ALL, True)
        for row in _rows(told):
            assert row == [0.0, row[1], 0.0, 0.0] and row[1] > 0.0

    @quick
    def test_company_in_a_batch_changes_nothing(self) -> None:
        texts, tickets = (TOKENS, TOKENS[::-1], TOKENS[3:]), []
        for place, tokens in enumerate(texts):
            program = self.open_program(f"p{place}")
            embeds = program.prompt(tokens)
            tickets.append(program.call("forward_with_attention", [], embeds, self.pages(program, len(tokens)), []))
        self.rig.loop.run()
        for ticket, tokens in zip(tickets, texts, strict=True):
            self.check_near(_rows(ticket.result()), _rows(self.whole(tokens=tokens)), len(TOKENS))

    @quick
    def test_a_layer_that_is_named_twice_is_refused(self) -> None:
        program = self.open_program()
        embeds, pages = program.prompt([1]), self.pages(program, 1)
        self.check_refused(ArgumentError, program.call, "forward_with_attention", [], embeds, pages, [], None, [0, 0])

    @quick
    def test_a_layer_that_is_not_there_fails_its_own_command_alone(self) -> None:
        program, other = self.open_program(), self.open_program("b")
        tickets = []
        for each, layers in ((program, [1 << 20]), (other, ALL)):
            embeds = each.prompt(TOKENS)
            pages = self.pages(each, len(TOKENS))
            tickets.append(each.call("forward_with_attention", [], embeds, pages, [], None, layers))
        self.rig.loop.run()
        assert isinstance(tickets[0].error, PieError) and f"no layer {1 << 20}" in str(tickets[0].error)
        self.check_near(_rows(tickets[1].result()), _rows(self.whole()), len(TOKENS))

    def whole(
        self, layers: Sequence[int] = (), per_head: bool = False, tokens: Sequence[int] = tuple(TOKENS)
    ) -> Attention:
        """What is told of a pass over all tokens, by an inferlet of its own."""
        program = self.open_program(f"whole{len(self.rig.layer.spaces)}")
        embeds, pages = program.prompt(list(tokens)), self.pages(program, len(tokens))
        told: Attention = self.get(
            program, "forward_with_attention", [], embeds, pages, [], None, list(layers), per_head
        )
        return told

    def pages(self, program: Any, tokens: int) -> list[int]:
        """Fresh pages with room for so many tokens."""
        pages: list[int] = program.call("alloc_kvpage", -(-tokens // self.subject.backend.info.kvpage_size))
        return pages

    def get(self, program: Any, name: str, *arguments: Any) -> Any:
        """What a command gives."""
        ticket = program.call(name, *arguments)
        self.rig.loop.run()
        return ticket.result()

    def check_near(self, one: Sequence[Sequence[float]], other: Sequence[Sequence[float]], scale: float) -> None:
        """Rows of weights that are the same; the sums in them reach up to `scale`."""
        __tracebackhide__ = True
        pairs = [(a, b) for row, of in zip(one, other, strict=True) for a, b in zip(row, of, strict=True)]
        assert max(abs(a - b) for a, b in pairs) <= self.tolerance * scale


def _rows(told: Attention) -> list[list[float]]:
    """The weights of each head of each layer, by column."""
    assert len(told.weights) == told.layers * told.heads * told.columns
    return [list(told.weights[at : at + told.columns]) for at in range(0, len(told.weights), told.columns)]


@hookimpl
def pie_suite() -> type[TraitSuite]:
    return IntrospectiveForwardSuite
