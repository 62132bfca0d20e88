"""The conformance suite of trait `decode`: what is drawn, and what is run before it is known.

from pie_traits_decode.testing import DecodeSuite

class TestDecode(DecodeSuite):
    backend_name = "acme"

    def make(self):
        return load_backend("tiny", pages=64)
"""

from __future__ import annotations

from typing import Any

from inferlet.dist import Dist
from inferlet.draws import Draws

from pie_core.errors import ArgumentError, HandleError
from pie_core.hookspecs import hookimpl
from pie_core.testing.conformance import TraitSuite, quick
from pie_traits_decode.decode import DECODE
from pie_traits_decode.testing.prompting import PROMPT, SETTINGS
from pie_traits_decode.testing.steps import StepCases


class DecodeSuite(StepCases, TraitSuite):
    """Any backend that realizes `decode`. What is drawn is compared with the SDK's draw from the distribution."""

    trait = DECODE
    uses = ("allocate", "forward", "input_text", "output_text", "tokenize")

    @quick
    def test_at_temperature_0_it_is_the_most_probable_token(self) -> None:
        p, (emb, _) = self.after_a_prompt()
        assert self.get(p, "sample", [emb], []) == self.get(p, "get_next_dist", [emb], 1).ids[0]

    @quick
    def test_a_draw_is_that_of_the_distribution_by_the_numbers_of_the_seed(self) -> None:
        p, (emb, _) = self.after_a_prompt()
        drawn = set()
        for settings in SETTINGS:
            dist = Dist.of(self.get(p, "get_next_dist", [emb], settings[1]))
            for number in range(8):
                token = self.get(p, "sample", [emb], [], *settings, 7, number)
                assert token == dist.sample(*settings, seed=Draws(7, number))
                drawn.add(token)
        assert len(drawn) > 1

    @quick
    def test_many_draws_at_once_are_those_of_each_by_itself(self) -> None:
        p, (emb, _) = self.after_a_prompt()
        asked = [(*settings, 3, number) for settings in SETTINGS for number in range(3)]
        together = [p.call("sample", [emb], [], *one) for one in asked]
        self.rig.loop.run()
        assert [ticket.result() for ticket in together] == [self.get(p, "sample", [emb], [], *one) for one in asked]

    @quick
    def test_what_was_drawn_can_be_run_before_it_is_known(self) -> None:
        """Three tokens, enqueued at once, are those of a program that waits for each."""
        p, (emb, _) = self.after_a_prompt(room=3)
        tickets = []
        for _ in range(3):
            tickets.append(p.call("sample", [emb], [emb]))
            p.call("forward", self.pages, [emb], self.pages, [emb])
        final = self.get(p, "get_next_dist", [emb], None)
        ahead = [ticket.result() for ticket in tickets]
        p, (emb, _) = self.after_a_prompt(room=3)
        waited = []
        for number in range(3):
            waited.append(self.get(p, "get_next_dist", [emb], 1).ids[0])
            p.call("embed_txt", [waited[-1]], [len(PROMPT) + number], [emb])
            p.call("forward", self.pages, [emb], self.pages, [emb])
        assert ahead == waited
        assert list(self.get(p, "get_next_dist", [emb], None).ids)[:8] == list(final.ids)[:8]

    @quick
    def test_the_embedding_goes_into_another_embed_and_the_hidden_state_stays(self) -> None:
        p, (emb, other) = self.after_a_prompt(room=1)
        before = self.get(p, "get_next_dist", [emb], 8)
        self.get(p, "sample", [emb], [other])
        assert list(self.get(p, "get_next_dist", [emb], 8).ids) == list(before.ids)
        p.call("forward", self.pages, [other], self.pages, [other])
        assert len(self.get(p, "get_next_dist", [other], 8).ids) == 8

    @quick
    def test_questions_that_have_no_answer_are_refused(self) -> None:
        p, (emb, other) = self.after_a_prompt()
        wrong: list[tuple[Any, ...]] = [
            ([], []),
            ([emb, emb], []),
            ([emb], [emb, other]),
            ([emb], [], -0.5),
            ([emb], [], float("nan")),
            ([emb], [], 1.0, 0),
            ([emb], [], 1.0, 5, 0.0),
            ([emb], [], 1.0, 5, 1.0, 1.5),
            ([emb], [], 1.0, 5, 1.0, 0.0, -1),
        ]
        for arguments in wrong:
            self.check_refused(ArgumentError, p.call, "sample", *arguments)
        self.check_refused(HandleError, p.call, "sample", p.call("alloc_emb", 1), [])

    @quick
    def test_no_token_goes_where_the_model_has_no_position(self) -> None:
        p = self.open_program()
        end = self.subject.backend.info.max_position
        embeds, pages = p.call("alloc_emb", 1), p.call("alloc_kvpage", 1)
        p.call("embed_txt", [1], [end - 1], embeds)
        p.call("forward", [], embeds, pages, embeds)
        self.check_refused(ArgumentError, p.call, "sample", embeds, embeds)
        assert self.get(p, "sample", embeds, []) == self.get(p, "get_next_dist", embeds, 1).ids[0]


@hookimpl
def pie_suite() -> type[TraitSuite]:
    return DecodeSuite
