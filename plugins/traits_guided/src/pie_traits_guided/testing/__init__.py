"""The conformance suite of trait `decode_guided`: what steps draw within a grammar, and where they leave the matcher.

from pie_traits_guided.testing import GuidedSuite

class TestGuided(GuidedSuite):
    backend_name = "acme"

    def make(self):
        return load_backend("tiny", pages=64)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inferlet.adjusting import Adjustment
from inferlet.dist import Dist
from inferlet.draws import Draws
from pie_traits_decode.testing.prompting import PROMPT, SETTINGS, Prompting
from pie_traits_grammar.matcher import Matcher

from pie_core.errors import ArgumentError, HandleError
from pie_core.hookspecs import hookimpl
from pie_core.resource import Embed, KvPage
from pie_core.testing.conformance import TraitSuite, quick
from pie_core.testing.rig import Program
from pie_traits_guided.decode_guided import DECODE_GUIDED

GREEDY = (0.0, 256, 1.0, 0.0)
LONG = 37  # tokens; more than two pages of 16
WORDS = "([a-z]{2}( [a-z]{1,3}|, [0-9]+)){99}"  # more than is drawn
NESTED = 'start: "(" start ")" | /[a-z]/ start | /[0-9]/'


@dataclass(frozen=True)
class Writer:
    """An inferlet that has run a prompt, and has a matcher at the start of a grammar."""

    p: Program
    pages: list[int]
    emb: list[int]
    matcher: list[int]

    def decode(
        self, settings: Sequence[Any], most: int, first: int | None = None, draw: int = 0, adjusting: Sequence[Any] = ()
    ) -> Any:
        """The ticket of a guided decode."""
        at = self.pages, self.emb, self.pages, self.emb
        return self.p.call("decode_guided", *at, most, self.matcher, first, [], [], *settings, 7, draw, *adjusting)


class GuidedSuite(Prompting, TraitSuite):
    """Any backend that realizes `decode_guided`. The oracle asks for each distribution and draws as the SDK does."""

    trait = DECODE_GUIDED
    uses = ("allocate", "forward", "input_text", "output_text", "tokenize", "decode", "grammar")

    @quick
    def test_many_steps_are_those_of_a_program_that_takes_them_one_by_one(self) -> None:
        for settings in (GREEDY, *SETTINGS[1:3]):
            expected, dist = self._one_by_one(WORDS, LONG, settings)
            writer = self._writer(WORDS)
            told = self._told(writer.decode(settings, LONG))
            assert told.tokens == expected
            self._run_last(writer, expected)
            assert self._dist(writer) == dist

    @quick
    def test_biases_and_penalties_change_what_the_grammar_has_left(self) -> None:
        adjustment = Adjustment({PROMPT[0]: 2.5, PROMPT[1]: -1.0}, 0.5, 0.25, PROMPT)
        wanted = [list(adjustment.bias), list(adjustment.bias.values()), 0.5, 0.25, PROMPT]
        for settings in (GREEDY, SETTINGS[1]):
            expected, _ = self._one_by_one(WORDS, 9, settings, adjustment)
            assert self._told(self._writer(WORDS).decode(settings, 9, adjusting=wanted)).tokens == expected

    @quick
    def test_steps_go_on_where_the_last_command_ended(self) -> None:
        expected, dist = self._one_by_one(WORDS, LONG, SETTINGS[0])
        writer, drawn = self._writer(WORDS), list[int]()
        for most in (1, 20, 2, 14):
            first = drawn[-1] if drawn else None
            drawn += self._told(writer.decode(SETTINGS[0], most, first, len(drawn))).tokens
        assert drawn == expected
        self._run_last(writer, drawn)
        assert self._dist(writer) == dist

    @quick
    def test_decodes_of_several_grammars_and_of_none_are_those_of_each_by_itself(self) -> None:
        """All in the same steps."""
        grammars = (WORDS, NESTED, None, "[0-9]{50}")
        alone = [self._told(self._start(grammar, number)) for number, grammar in enumerate(grammars)]
        together = [self._start(grammar, number) for number, grammar in enumerate(grammars)]
        self.rig.loop.run()
        assert [ticket.result() for ticket in together] == alone

    @quick
    def test_it_ends_where_nothing_may_follow(self) -> None:
        writer = self._writer("[a-c]{2}[0-9]")
        told = self._told(writer.decode(SETTINGS[0], LONG))
        assert told.ended and told.accepting and len(self._text(told.tokens)) == 3
        used = sum(page.tokens for page in writer.p.space.resolve(KvPage, writer.pages, "test"))
        assert used == len(PROMPT) + len(told.tokens) - 1

    @quick
    def test_an_end_token_ends_it_and_can_be_taken_back(self) -> None:
        """Where the sentence is whole and may go on."""
        writer = self._writer("a[b-d]*")
        ends = list(self.subject.backend.info.eos_tokens)
        told = self._told(writer.decode(GREEDY, LONG, adjusting=[ends, [1e3] * len(ends)]))
        assert told.tokens[-1] in ends and told.ended and told.accepting
        state = self.get(writer.p, "rollback", writer.matcher, 1)
        assert (state.tokens, state.ended, state.accepting) == (len(told.tokens) - 1, False, True)

    @quick
    def test_the_matcher_is_behind_the_last_token_and_can_go_back(self) -> None:
        writer = self._writer("[a-z]{40}")
        before = self._dist(writer)
        told = self._told(writer.decode(SETTINGS[0], 4))
        assert not told.accepting and not told.ended
        assert self.get(writer.p, "rollback", writer.matcher, 0).tokens == 4
        assert self.get(writer.p, "rollback", writer.matcher, 4).tokens == 0
        assert set(self._dist(writer)) == set(before)

    @quick
    def test_until_it_is_done_the_matcher_cannot_be_named(self) -> None:
        writer = self._writer("[a-z]{40}")
        ticket = writer.decode(SETTINGS[0], 4)
        for call, *rest in (("advance", [1]), ("rollback", 0), ("count_allowed", [1])):
            self.check_refused(HandleError, writer.p.call, call, writer.matcher, *rest)
        assert len(self._told(ticket).tokens) == 4
        assert len(self._dist(writer)) > 0

    @quick
    def test_what_was_asked_for_before_is_of_the_place_before(self) -> None:
        writer = self._writer("[a-c][0-9]{9}")
        dist = writer.p.call("get_next_dist_masked", writer.emb, writer.matcher, None)
        told = self._told(writer.decode(GREEDY, 3))
        assert told.tokens[0] == dist.result().ids[0]
        assert {self._text([token])[:1] for token in dist.result().ids} == {b"a", b"b", b"c"}

    @quick
    def test_one_that_fails_fails_alone(self) -> None:
        """Nothing follows an end token."""
        expected, _ = self._one_by_one("[a-z]{90}", 9, SETTINGS[0])
        good, bad = self._writer("[a-z]{90}"), self._writer("a?")
        self.get(bad.p, "advance", bad.matcher, [self.subject.backend.info.eos_tokens[0]])
        tickets = good.decode(SETTINGS[0], 9), bad.decode(SETTINGS[0], 9)
        self.rig.loop.run()
        assert tickets[0].result().tokens == expected
        assert isinstance(tickets[1].error, ArgumentError) and "nothing follows" in str(tickets[1].error)
        self.check_refused(HandleError, bad.p.call, "advance", bad.matcher, [1])
        bad.p.call("dealloc_matcher", bad.matcher)

    @quick
    def test_it_stops_with_its_inferlet(self) -> None:
        writer = self._writer("[a-z]{2000}", room=900)
        writer.decode(GREEDY, 900)
        for _ in range(8):
            self.rig.loop.step()
        self.rig.layer.close(writer.p.space)
        steps = 0
        while self.rig.loop.step():
            steps += 1
        assert steps < 100
        capacity = self.subject.backend.capacity
        assert self.rig.free() == (capacity[KvPage], capacity[Embed])
        assert self.rig.layer.pools[Matcher].free == Matcher.capacity

    @quick
    def test_what_cannot_be_done_is_refused_and_the_matcher_stays_where_it_is(self) -> None:
        writer = self._writer("[a-z]+")
        p, pages, emb, matcher = writer.p, writer.pages, writer.emb, writer.matcher
        other, blank = p.call("alloc_matcher", 2)
        self.get(p, "set_grammar", [other], "regex", "b")
        wrong: list[tuple[Any, ...]] = [
            (pages, emb, pages, emb, 2, []),
            (pages, emb, pages, emb, 2, [*matcher, other]),
            (pages, emb, pages, emb, 0, matcher),
            (pages, emb, pages, emb, 1025, matcher),
            (pages, emb, pages, emb, 2, matcher, self.subject.backend.info.vocab_size),
            (pages, emb, pages, emb, 2, matcher, None, [], [], -1.0),
            (pages, emb, [], emb, 2, matcher),
        ]
        for arguments in wrong:
            self.check_refused(ArgumentError, p.call, "decode_guided", *arguments)
        self.check_refused(HandleError, p.call, "decode_guided", pages, emb, pages, emb, 2, [blank])
        assert self.get(p, "rollback", matcher, 0).tokens == 0

    # what they are made of

    def _writer(self, grammar: str, room: int = LONG) -> Writer:
        p, (emb, _) = self.after_a_prompt(room=room)
        matcher: list[int] = p.call("alloc_matcher", 1)
        self.get(p, "set_grammar", matcher, "lark" if grammar.startswith("start:") else "regex", grammar)
        return Writer(p, self.pages, [emb], matcher)

    def _told(self, ticket: Any) -> Any:
        self.rig.loop.run()
        return ticket.result()

    def _start(self, grammar: str | None, number: int) -> Any:
        """The ticket of a decode under a grammar, or under none."""
        if grammar is not None:
            return self._writer(grammar).decode(SETTINGS[number], 20)
        p, (emb, _) = self.after_a_prompt(room=20)
        return p.call("decode", self.pages, [emb], self.pages, [emb], 20, None, [], [], *SETTINGS[number], 7, 0)

    def _one_by_one(
        self, grammar: str, count: int, settings: Sequence[Any], adjustment: Adjustment | None = None
    ) -> tuple[list[int], list[int]]:
        """The tokens, and the most probable of those that are allowed behind the last one."""
        writer, drawn = self._writer(grammar), list[int]()
        for number in range(count):
            top_k = settings[1] if adjustment is None else 256
            dist = Dist.of(self.get(writer.p, "get_next_dist_masked", writer.emb, writer.matcher, top_k))
            if adjustment is not None:
                dist = adjustment(dist, drawn)
            temperature, top_k, top_p, min_p = settings
            drawn.append(dist.sample(temperature, top_k, top_p, min_p, Draws(7, number)))
            self.get(writer.p, "advance", writer.matcher, drawn[-1:])
            self._run_last(writer, drawn)
        return drawn, self._dist(writer)

    def _run_last(self, writer: Writer, drawn: Sequence[int]) -> None:
        writer.p.call("embed_txt", [drawn[-1]], [len(PROMPT) + len(drawn) - 1], writer.emb)
        writer.p.call("forward", writer.pages, writer.emb, writer.pages, writer.emb)

    def _dist(self, writer: Writer) -> list[int]:
        return list(self.get(writer.p, "get_next_dist_masked", writer.emb, writer.matcher, None).ids)

    def _text(self, tokens: Sequence[int]) -> bytes:
        space = self.open_program(f"t{len(self.rig.layer.spaces)}").space
        words: list[bytes] = self.rig.layer.call(space, "get_vocabs", space.create_queue(), [])
        return b"".join(words[token] for token in tokens)


@hookimpl
def pie_suite() -> type[TraitSuite]:
    return GuidedSuite
