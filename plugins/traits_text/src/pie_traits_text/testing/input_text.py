"""The suite of trait `input_text`: every Embed gets its own token and position."""

from __future__ import annotations

from pie_core.errors import ArgumentError
from pie_core.hookspecs import hookimpl
from pie_core.testing.conformance import TraitSuite, quick
from pie_traits_text.input_text import INPUT_TEXT
from pie_traits_text.testing.reading import Reading, TextSuite, Writer


class InputTextSuite(TextSuite):
    """Any backend that realizes `input_text`."""

    trait = INPUT_TEXT

    @quick
    def test_each_embed_gets_the_token_at_its_place(self) -> None:
        tokens = self.tokens(5, 80)
        p = self.writer()
        together = p.embed(tokens, [0] * 5)
        for token, embed in zip(tokens, together, strict=True):
            alone = p.embed([token], [0])
            self.check_same(_first(p, [embed]), _first(p, alone))

    @quick
    def test_tokens_are_told_apart(self) -> None:
        p = self.writer()
        first, *others = [_first(p, p.embed([token], [0])) for token in self.tokens(4, 81)]
        for other in others:
            self.check_differ(first, other)

    @quick
    def test_the_first_and_the_last_token_of_the_vocabulary_are_tokens(self) -> None:
        last = self.subject.backend.info.vocab_size - 1
        p = self.writer()
        ends = p.embed([0, last], [0, 0])
        self.check_same(_first(p, ends[1:]), _first(p, p.embed([last], [0])))
        self.check_same(_first(p, ends[:1]), _first(p, p.embed([0], [0])))

    @quick
    def test_the_last_position_of_the_range_is_one(self) -> None:
        p = self.writer()
        far = p.embed(self.tokens(1, 82), [self.subject.backend.info.max_position - 1])
        ticket = p.call("forward", [], far, p.pages(1), p.embeds(1))
        self.rig.loop.run()
        assert ticket.result() is None

    @quick
    def test_an_embed_written_anew_holds_the_new_token(self) -> None:
        old, new = self.tokens(2, 83)
        p = self.writer()
        embed = p.embed([old], [7])
        p.call("embed_txt", [new], [0], embed)
        self.check_same(_first(p, embed), _first(p, p.embed([new], [0])))

    @quick
    def test_embeds_written_in_one_batch_are_those_written_alone(self) -> None:
        tokens = self.tokens(6, 84)
        writers = [self.writer(f"p{place}") for place in range(3)]
        embeds = [w.embed(tokens[2 * n : 2 * n + 2], [0, 0]) for n, w in enumerate(writers)]  # one batch of three
        self.rig.loop.run()
        for n, (w, pair) in enumerate(zip(writers, embeds, strict=True)):
            for token, embed in zip(tokens[2 * n : 2 * n + 2], pair, strict=True):
                alone = w.embed([token], [0])
                self.rig.loop.run()
                self.check_same(_first(w, [embed]), _first(w, alone), self.batch_tolerance)

    @quick
    def test_what_is_no_token_or_no_position_is_refused(self) -> None:
        p, info = self.writer(), self.subject.backend.info
        one, two = p.embeds(1), p.embeds(2)
        for arguments in (
            ([1, 2], [0], one),
            ([1], [0, 1], one),
            ([1], [0], two),
            ([info.vocab_size], [0], one),
            ([1], [info.max_position], one),
            ([1, 2], [0, 1], one * 2),
        ):
            self.check_refused(ArgumentError, p.call, "embed_txt", *arguments)


def _first(p: Writer, embed: list[int]) -> Reading:
    """The distribution after this Embed, run as the first token of a text."""
    out = p.embeds(1)
    p.call("forward", [], embed, p.pages(1), out)
    return p.last(out)


@hookimpl
def pie_suite() -> type[TraitSuite]:
    return InputTextSuite
