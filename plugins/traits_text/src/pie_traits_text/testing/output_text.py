"""The suite of trait `output_text`: a distribution is one, sorted, cut exactly, and belongs to its Embed."""

from __future__ import annotations

import math

from pie_core.errors import ArgumentError, HandleError
from pie_core.hookspecs import hookimpl
from pie_core.testing.conformance import TraitSuite, quick
from pie_traits_text.output_text import OUTPUT_TEXT, Dist
from pie_traits_text.testing.reading import TextSuite, Writer

ROUNDING = 1e-4  # of a sum over the vocabulary in float32


class OutputTextSuite(TextSuite):
    """Any backend that realizes `output_text`."""

    trait = OUTPUT_TEXT

    @quick
    def test_probabilities_and_the_rest_sum_to_one(self) -> None:
        for top_k in self._cuts():
            dist = self._dist(top_k)
            assert all(0.0 <= prob <= 1.0 and math.isfinite(prob) for prob in dist.probs)
            assert 0.0 <= dist.rest <= 1.0
            assert abs(sum(dist.probs) + dist.rest - 1.0) <= ROUNDING

    @quick
    def test_as_many_tokens_are_listed_as_asked_for_each_once(self) -> None:
        vocab = self.subject.backend.info.vocab_size
        for top_k in self._cuts():
            dist = self._dist(top_k)
            assert len(dist.ids) == len(dist.probs) == min(top_k or vocab, vocab)
            assert len(set(dist.ids)) == len(dist.ids)
            assert all(0 <= token < vocab for token in dist.ids)

    @quick
    def test_the_most_probable_come_first(self) -> None:
        probs = list(self._dist(None).probs)
        assert probs == sorted(probs, reverse=True)

    @quick
    def test_a_cut_distribution_is_the_head_of_the_whole_one(self) -> None:
        whole = self._dist(None)
        for top_k in (1, 5, 256):
            cut = self._dist(top_k)
            assert list(cut.ids) == list(whole.ids)[:top_k]
            assert all(abs(a - b) <= ROUNDING for a, b in zip(cut.probs, whole.probs, strict=False))
            assert abs(cut.rest - sum(list(whole.probs)[top_k:])) <= ROUNDING

    @quick
    def test_256_tokens_are_listed_unless_told_otherwise(self) -> None:
        assert len(self._dist().ids) == min(256, self.subject.backend.info.vocab_size)

    @quick
    def test_arrays_are_of_the_declared_element_types(self) -> None:
        dist = self._dist(3)
        assert (dist.ids.typecode, dist.probs.typecode) == ("I", "f")

    @quick
    def test_each_of_a_batch_gets_its_own(self) -> None:
        writers = [self.writer(f"p{place}") for place in range(5)]
        ends = [w.whole(self.tokens(3, 90 + place))[1][-1:] for place, w in enumerate(writers)]
        cuts = [1, None, 7, 256, None]
        self.rig.loop.run()
        tickets = [w.call("get_next_dist", end, cut) for w, end, cut in zip(writers, ends, cuts, strict=True)]
        self.rig.loop.run()
        for w, end, cut, ticket in zip(writers, ends, cuts, tickets, strict=True):
            again = w.call("get_next_dist", end, cut)
            self.rig.loop.run()
            together, alone = ticket.result(), again.result()
            assert self.batch_tolerance > 0 or list(together.ids) == list(alone.ids)
            given = dict(zip(together.ids, together.probs, strict=True))
            for token, prob in zip(alone.ids, alone.probs, strict=True):  # near the cut, others may be listed
                assert abs(given.get(token, together.probs[-1]) - prob) <= self.batch_tolerance

    @quick
    def test_asking_changes_nothing(self) -> None:
        p = self.writer()
        _, end = p.whole(self.tokens(3, 97))
        self.check_same(p.last(end), p.last(end), self.batch_tolerance)

    @quick
    def test_questions_that_have_no_answer_are_refused(self) -> None:
        p = self.writer()
        _, end = p.whole(self.tokens(3, 98))
        self.check_refused(ArgumentError, p.call, "get_next_dist", end)
        self.check_refused(ArgumentError, p.call, "get_next_dist", [])
        self.check_refused(ArgumentError, p.call, "get_next_dist", end[:1], 0)
        self.check_refused(HandleError, p.call, "get_next_dist", p.embeds(1))

    def _cuts(self) -> tuple[int | None, ...]:
        vocab = self.subject.backend.info.vocab_size
        return (1, 7, 256, vocab - 1, vocab, vocab + 1, None)

    def _dist(self, *top_k: int | None) -> Dist:
        p: Writer = self.writer(f"p{len(self.rig.layer.spaces)}")
        _, end = p.whole(self.tokens(3, 99))
        ticket = p.call("get_next_dist", end[-1:], *top_k)
        self.rig.loop.run()
        found: Dist = ticket.result()
        return found


@hookimpl
def pie_suite() -> type[TraitSuite]:
    return OutputTextSuite
