"""The conformance suite of trait `grammar`: what is left of a distribution, and what a matcher remembers.

from pie_traits_grammar.testing import GrammarSuite

class TestGrammar(GrammarSuite):
    backend_name = "acme"

    def make(self):
        return load_backend("tiny", pages=64)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from pie_traits_text.output_text import Dist

from pie_core.errors import ArgumentError, HandleError, PieError, ResourceError
from pie_core.hookspecs import hookimpl
from pie_core.testing.conformance import TraitSuite, quick
from pie_core.testing.rig import Program
from pie_traits_grammar.grammar import GRAMMAR, MOST_BYTES, MatcherState

ROUNDING = 1e-4


class GrammarSuite(TraitSuite):
    """Any backend that realizes `grammar`. Regular expressions are followed by Python's `re` for comparison."""

    trait = GRAMMAR
    uses = ("forward", "input_text", "output_text", "tokenize")

    @quick
    def test_what_is_left_is_the_models_distribution_among_the_allowed_tokens(self) -> None:
        p, emb = self._at_a_place()
        whole = self._get(p, "get_next_dist", emb, None)
        matcher = self._matcher(p, "regex", "[ab][a-z]*")
        wanted = self._begins("[ab][a-z]*")
        total = sum(prob for token, prob in zip(whole.ids, whole.probs, strict=True) if token in wanted)
        found = self._get(p, "get_next_dist_masked", emb, matcher, None)
        assert set(found.ids) == wanted
        assert list(found.ids) == [token for token in whole.ids if token in wanted]
        expected = [prob / total for token, prob in zip(whole.ids, whole.probs, strict=True) if token in wanted]
        assert all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(found.probs, expected, strict=True))
        assert found.rest == 0.0 and abs(sum(found.probs) - 1.0) <= ROUNDING

    @quick
    def test_a_cut_counts_among_the_allowed_tokens_and_the_rest_is_what_it_leaves_of_them(self) -> None:
        p, emb = self._at_a_place()
        matcher = self._matcher(p, "regex", "[a-z]+")
        whole = self._get(p, "get_next_dist_masked", emb, matcher, None)
        assert len(whole.ids) >= 26
        for top_k in (1, 5, len(whole.ids), len(whole.ids) + 1):
            cut = self._get(p, "get_next_dist_masked", emb, matcher, top_k)
            assert list(cut.ids) == list(whole.ids)[:top_k]
            assert all(abs(a - b) <= ROUNDING for a, b in zip(cut.probs, whole.probs, strict=False))
            assert abs(cut.rest - sum(list(whole.probs)[top_k:])) <= ROUNDING

    @quick
    def test_the_end_is_allowed_where_the_sentence_is_whole_and_nowhere_else(self) -> None:
        p, emb = self._at_a_place()
        ends = set(self.subject.backend.info.eos_tokens)
        matcher = self._matcher(p, "regex", "ab?")
        for tokens, accepting, ended in (
            ((), False, False),
            (self._tokens("a"), True, False),
            (self._tokens("b"), True, True),
        ):
            state = self._get(p, "advance", matcher, list(tokens))
            found = self._get(p, "get_next_dist_masked", emb, matcher, None)
            assert (state.accepting, state.ended) == (accepting, ended)
            assert bool(ends & set(found.ids)) == accepting
        assert set(found.ids) == ends

    @quick
    def test_the_end_can_be_taken_once_and_taken_back(self) -> None:
        p, _ = self._at_a_place()
        end = self.subject.backend.info.eos_tokens[0]
        matcher = self._matcher(p, "regex", "ab?")
        for text in ("a", "ab"):
            tokens = self._tokens(text)
            assert self._get(p, "count_allowed", matcher, [end]) == 0
            assert self._get(p, "count_allowed", matcher, [*tokens, end, end]) == len(tokens) + 1
            state = self._get(p, "advance", matcher, [*tokens, end])
            assert (state.tokens, state.accepting, state.ended) == (len(tokens) + 1, True, True)
            assert self._get(p, "count_allowed", matcher, [end]) == self._get(p, "count_allowed", matcher, tokens) == 0
            state = self._get(p, "rollback", matcher, 1)
            assert (state.tokens, state.accepting, state.ended) == (len(tokens), True, text == "ab")
            self._get(p, "rollback", matcher, len(tokens))

    @quick
    def test_a_matcher_that_was_rolled_back_is_where_it_was(self) -> None:
        p, emb = self._at_a_place()
        matcher = self._matcher(p, "lark", 'start: "(" start ")" | /[a-z]+/')
        seen = [self._allowed(p, emb, matcher)]
        tokens = self._tokens("((abc")
        for token in tokens:
            self._get(p, "advance", matcher, [token])
            seen.append(self._allowed(p, emb, matcher))
        for count in (1, 2, len(tokens) - 3):
            self._get(p, "rollback", matcher, count)
            seen_then = seen[: len(seen) - count]
            assert self._allowed(p, emb, matcher) == seen_then[-1]
            seen = seen_then
        assert self._get(p, "rollback", matcher, 0).tokens == 0

    @quick
    def test_several_places_are_asked_for_in_one_go_and_each_answer_is_of_its_own(self) -> None:
        """A draft is verified: places ahead, then the matcher goes back, before anything has run."""
        p, emb = self._at_a_place()
        text = "ab-cd"
        matcher = self._matcher(p, "regex", "[a-z]{2}-[a-z]{2}")
        tokens = self._tokens(text)
        self.rig.loop.run()
        tickets = [p.call("get_next_dist_masked", emb, matcher, None)]
        for token in tokens:
            p.call("advance", matcher, [token])
            tickets.append(p.call("get_next_dist_masked", emb, matcher, None))
        p.call("rollback", matcher, len(tokens))
        tickets.append(p.call("get_next_dist_masked", emb, matcher, None))
        before = self.rig.layer.statistics.calls.get("get_next_dist_masked")
        launches = before.batches if before else 0
        self.rig.loop.run()
        found = [set(ticket.result().ids) for ticket in tickets]
        assert found[-1] == found[0]
        after = self._matcher(p, "regex", "[a-z]{2}-[a-z]{2}")
        for place, token in enumerate(tokens):
            assert found[place] == self._allowed(p, emb, after)
            self._get(p, "advance", after, [token])
        counters = self.rig.layer.statistics.calls["get_next_dist_masked"]
        assert counters.batches - launches <= len(tickets)

    @quick
    def test_a_copy_goes_its_own_way(self) -> None:
        p, emb = self._at_a_place()
        one = self._matcher(p, "regex", "a[bc]+d|x")
        other = p.call("alloc_matcher", 1)
        self._get(p, "advance", one, self._tokens("a"))
        p.call("copy_matcher", one, other)
        assert self._allowed(p, emb, one) == self._allowed(p, emb, other)
        self._get(p, "advance", other, self._tokens("b"))
        assert self._allowed(p, emb, one) != self._allowed(p, emb, other)
        self._get(p, "rollback", other, 1 + len(self._tokens("a")))
        assert self._get(p, "count_allowed", other, self._tokens("x")) == len(self._tokens("x"))
        assert self._get(p, "rollback", one, 0).tokens == len(self._tokens("a"))

    @quick
    def test_what_is_forced_is_told(self) -> None:
        p, _ = self._at_a_place()
        matcher = p.call("alloc_matcher", 1)
        state: MatcherState = self._get(p, "set_grammar", matcher, "lark", 'start: "capital: " /[A-Z]/ "."')
        assert state.forced == b"capital: "
        assert self._get(p, "advance", matcher, self._tokens("capital: ")).forced == b""
        assert self._get(p, "advance", matcher, self._tokens("P")).forced == b"."

    @quick
    def test_a_token_that_is_not_allowed_is_an_error_and_the_matcher_is_lost(self) -> None:
        p, emb = self._at_a_place()
        matcher = self._matcher(p, "regex", "[a-z]+")
        assert self._get(p, "count_allowed", matcher, self._tokens("ab1")) == len(self._tokens("ab"))
        error = self._fails(p, "advance", matcher, self._tokens("1"))
        assert isinstance(error, ArgumentError) and "'1'" in str(error)
        self.check_refused(HandleError, p.call, "advance", matcher, self._tokens("a"))
        self.check_refused(HandleError, p.call, "get_next_dist_masked", emb, matcher)
        p.call("dealloc_matcher", matcher)

    @quick
    def test_a_grammar_that_is_none_or_has_no_sentence_is_an_error(self) -> None:
        p, _ = self._at_a_place()
        for syntax, text, words in (
            ("lark", "start: %%%", "lexer error"),
            ("lark", "start: other", 'unknown name: "other"'),
            ("lark", 'start: "a', ""),
            ("lark", "", ""),
            ("regex", "(", ""),
            ("regex", r"(a)\1", ""),
            ("regex", r"[^\s\S]", "no sentence"),
            ("json_schema", "{", ""),
            ("json_schema", '{"type": "integer", "minimum": 5, "maximum": 3}', "minimum"),
            ("json_schema", '{"type": "colour"}', ""),
        ):
            error = self._fails(p, "set_grammar", p.call("alloc_matcher", 1), syntax, text)
            assert isinstance(error, ArgumentError) and words in str(error), error

    @quick
    def test_a_grammar_over_the_limits_is_an_error(self) -> None:
        p, _ = self._at_a_place()
        matcher = p.call("alloc_matcher", 1)
        self.check_refused(ArgumentError, p.call, "set_grammar", matcher, "regex", "a" * (MOST_BYTES + 1))
        self.check_refused(ArgumentError, p.call, "set_grammar", matcher, "ebnf", "start: A")
        rules = "\n".join(f"r{n}: r{n + 1} r{n + 1}" for n in range(3000))  # overflows llguidance's stack
        error = self._fails(p, "set_grammar", matcher, "lark", f'start: r0\n{rules}\nr3000: "a"?')
        assert isinstance(error, ResourceError), error
        self.check_refused(ResourceError, p.call, "alloc_matcher", 32)

    @quick
    def test_a_matcher_without_a_grammar_is_refused(self) -> None:
        p, emb = self._at_a_place()
        matcher = p.call("alloc_matcher", 1)
        for call, *rest in (("advance", [1]), ("rollback", 0), ("count_allowed", [1])):
            self.check_refused(HandleError, p.call, call, matcher, *rest)
        self.check_refused(HandleError, p.call, "get_next_dist_masked", emb, matcher)
        self.check_refused(HandleError, p.call, "copy_matcher", matcher, p.call("alloc_matcher", 1))

    @quick
    def test_questions_that_have_no_answer_are_refused(self) -> None:
        p, emb = self._at_a_place()
        one, other = self._matcher(p, "regex", "a"), self._matcher(p, "regex", "b")
        info = self.subject.backend.info
        for arguments in ([*one, *other], [1]), ([], [1]), (one, [info.vocab_size]), (one, [1] * 1025):
            self.check_refused(ArgumentError, p.call, "advance", *arguments)
            self.check_refused(ArgumentError, p.call, "count_allowed", *arguments)
        self.check_refused(ArgumentError, p.call, "rollback", one, 1)
        self.check_refused(ArgumentError, p.call, "copy_matcher", one, one)
        wrong: list[tuple[Any, ...]] = [(emb * 2, one), ([], one), (emb, [*one, *other]), (emb, one, 0)]
        for question in wrong:
            self.check_refused(ArgumentError, p.call, "get_next_dist_masked", *question)
        self.check_refused(HandleError, p.call, "get_next_dist_masked", p.call("alloc_emb", 1), one)

    @quick
    def test_following_a_grammar_launches_nothing(self) -> None:
        p = self.open_program()
        matcher = self._matcher(p, "regex", "[a-z]+")
        self._get(p, "advance", matcher, self._tokens("abc"))
        self._get(p, "rollback", matcher, 1)
        assert self.rig.layer.statistics.waves == 0

    # what the cases say

    def _at_a_place(self) -> tuple[Program, list[int]]:
        """An inferlet, and an Embed whose distribution is the one after a prompt."""
        p = self.open_program()
        tokens = self._tokens("hello")
        embeds = p.prompt(tokens)
        size = self.subject.backend.info.kvpage_size
        pages = p.call("alloc_kvpage", -(-len(tokens) // size))
        p.call("forward", [], embeds, pages, embeds)
        return p, embeds[-1:]

    def _matcher(self, p: Program, syntax: str, grammar: str) -> list[int]:
        matcher: list[int] = p.call("alloc_matcher", 1)
        self._get(p, "set_grammar", matcher, syntax, grammar)
        return matcher

    def _get(self, p: Program, name: str, *arguments: Any) -> Any:
        ticket = p.call(name, *arguments)
        self.rig.loop.run()
        return ticket.result()

    def _fails(self, p: Program, name: str, *arguments: Any) -> PieError:
        ticket = p.call(name, *arguments)
        self.rig.loop.run()
        assert ticket.error is not None, f"{name}{arguments!r:.80} was served"
        error: PieError = ticket.error
        return error

    def _allowed(self, p: Program, emb: list[int], matcher: list[int]) -> set[int]:
        dist: Dist = self._get(p, "get_next_dist_masked", emb, matcher, None)
        return set(dist.ids)

    def _tokens(self, text: str) -> list[int]:
        """One token a character, so that grammars that end within a token are not the question."""
        ask: Callable[..., Any] = self.rig.layer.call
        space = self.open_program(f"t{len(self.rig.layer.spaces)}").space
        q = space.create_queue()
        return [token for char in text for token in ask(space, "tokenize", q, [char])]

    def _begins(self, pattern: str) -> set[int]:
        """The tokens that match a pattern of a first and a repeated class, so that a text can begin with them."""
        space = self.open_program("vocabulary").space
        words: list[bytes] = self.rig.layer.call(space, "get_vocabs", space.create_queue(), [])
        info = self.subject.backend.info
        specials = {*info.eos_tokens, *info.special_tokens, info.bos_token}
        whole = re.compile(pattern.encode())
        return {token for token, word in enumerate(words) if token not in specials and whole.fullmatch(word)}


@hookimpl
def pie_suite() -> type[TraitSuite]:
    return GrammarSuite
