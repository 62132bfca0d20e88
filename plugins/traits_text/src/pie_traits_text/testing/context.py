"""Cases of `forward` without a mask: what is context, in which pieces it may come, who may share it."""

from __future__ import annotations

from pie_core.resource import Embed
from pie_core.testing.conformance import quick
from pie_traits_text.testing.reading import TextSuite


class ContextCases(TextSuite):
    """A part of `ForwardSuite`."""

    @quick
    def test_a_prefill_in_chunks_gives_what_it_gives_whole(self) -> None:
        size = self.size
        tokens = self.tokens(2 * size + 3)
        p = self.writer()
        _, whole = p.whole(tokens)
        pages, chunked, start = p.pages(len(tokens)), [], 0
        for length in (1, size - 2, size, 4):  # ends inside pages and on their borders
            chunk = tokens[start : start + length]
            chunked += p.forward(chunk, range(start, start + length), pages, pages)
            start += length
        for one, other in zip(p.read(whole), p.read(chunked), strict=True):
            self.check_same(one, other)

    @quick
    def test_decoding_with_the_context_named_page_by_page_gives_what_a_prefill_gives(self) -> None:
        """The paper's loop: every step writes to a page of its own and names the ones before as context."""
        tokens = self.tokens(6, 1)
        p = self.writer()
        _, whole = p.whole(tokens)
        pages = p.call("alloc_kvpage", len(tokens))
        steps = [p.forward([token], [at], pages[:at], pages[at : at + 1])[0] for at, token in enumerate(tokens)]
        for one, other in zip(p.read(whole), p.read(steps), strict=True):
            self.check_same(one, other)

    @quick
    def test_the_same_calls_give_the_same_distribution(self) -> None:
        tokens = self.tokens(self.size + 1, 2)
        first, second = (p.last(p.whole(tokens)[1]) for p in (self.writer("a"), self.writer("b")))
        self.check_same(first, second, self.batch_tolerance)

    @quick
    def test_every_token_of_the_context_counts(self) -> None:
        tokens = self.tokens(5, 3)
        p = self.writer()
        reference = p.last(p.whole(tokens)[1])
        for place in range(4):
            changed = [*tokens[:place], tokens[place - 1], *tokens[place + 1 :]]
            self.check_differ(reference, p.last(p.whole(changed)[1]))

    @quick
    def test_positions_count(self) -> None:
        tokens = self.tokens(5, 4)
        p = self.writer()
        near, far = (p.last(p.forward(tokens, [0, 1, 2, 3, last])) for last in (4, 40))
        self.check_differ(near, far)

    @quick
    def test_tokens_at_higher_positions_are_not_seen(self) -> None:
        tokens = self.tokens(7, 5)
        p = self.writer()
        pages, _ = p.whole(tokens[:6])
        late = p.forward(tokens[6:], [3], pages)
        alone, _ = p.whole(tokens[:4])
        wanted = p.forward(tokens[6:], [3], alone)
        self.check_same(p.last(late), p.last(wanted))

    @quick
    def test_causality_is_by_position_not_by_the_order_of_tokens(self) -> None:
        tokens = self.tokens(6, 6)
        order = [3, 0, 5, 1, 4, 2]
        p = self.writer()
        _, straight = p.whole(tokens)
        shuffled = p.forward([tokens[place] for place in order], order)
        for place, embed in zip(order, shuffled, strict=True):
            self.check_same(p.last([straight[place]]), p.last([embed]))

    @quick
    def test_the_order_of_context_pages_changes_nothing(self) -> None:
        tokens = self.tokens(3 * self.size + 1, 7)
        p = self.writer()
        pages, _ = p.whole(tokens[:-1])
        straight, turned = (p.forward(tokens[-1:], [len(tokens) - 1], kv) for kv in (pages, pages[::-1]))
        self.check_same(p.last(straight), p.last(turned))

    @quick
    def test_empty_pages_are_no_context(self) -> None:
        tokens = self.tokens(5, 8)
        p = self.writer()
        pages, _ = p.whole(tokens[:4])
        empty = p.call("alloc_kvpage", 2)
        bare = p.forward(tokens[4:], [4], pages)
        padded = p.forward(tokens[4:], [4], [empty[0], *pages, empty[1]])
        self.check_same(p.last(bare), p.last(padded))

    @quick
    def test_pages_given_back_are_empty_when_they_come_again(self) -> None:
        tokens = self.tokens(4, 9)
        p = self.writer()
        wanted = p.last(p.whole(tokens)[1])
        stale = p.call("alloc_kvpage", 8)
        p.forward(self.tokens(8 * self.size, 10), range(8 * self.size), (), stale)
        self.rig.loop.run()
        p.call("dealloc_kvpage", stale)
        fresh = p.call("alloc_kvpage", 8)
        found = p.forward(tokens, range(4), fresh, fresh)
        self.check_same(wanted, p.last(found))

    @quick
    def test_keys_written_by_one_call_are_what_the_next_one_reads_in_the_same_wave_or_later(self) -> None:
        tokens = self.tokens(self.size + 2, 11)
        readings = []
        for wait in (False, True):
            p = self.writer(f"wait {wait}")
            pages, _ = p.whole(tokens[:-1], room=1)
            if wait:
                self.rig.loop.run()
            readings.append(p.last(p.forward(tokens[-1:], [len(tokens) - 1], pages, pages)))
        whole = self.writer()
        self.check_same(readings[0], readings[1])
        self.check_same(readings[0], whole.last(whole.whole(tokens)[1]))

    @quick
    def test_forks_that_share_pages_do_not_disturb_each_other(self) -> None:
        tokens = self.tokens(self.size + 5, 12)
        prefix, left, right = tokens[: self.size], tokens[self.size : -2], tokens[-2:]
        p = self.writer()
        pages, _ = p.whole(prefix)
        ends = [p.forward(branch, range(self.size, self.size + len(branch)), pages) for branch in (left, right)]
        for branch, end in zip((left, right), ends, strict=True):
            self.check_same(p.last(end), p.last(p.whole([*prefix, *branch])[1]))

    @quick
    def test_pages_of_another_inferlet_are_left_as_they_are(self) -> None:
        tokens = self.tokens(self.size + 3, 13)
        quiet, busy = self.writer("quiet"), self.writer("busy")
        pages, _ = quiet.whole(tokens[:-1], room=1)
        for seed in range(3):
            noise = self.tokens(self.size + 2, seed)
            busy.read(busy.whole(noise)[1][-1:])
        found = quiet.forward(tokens[-1:], [len(tokens) - 1], pages, pages)
        self.check_same(quiet.last(found), busy.last(busy.whole(tokens)[1]))

    @quick
    def test_an_output_embed_fed_back_stands_one_past_its_token_and_becomes_context(self) -> None:
        tokens = self.tokens(5, 14)
        p = self.writer()
        readings = []
        for wait in (False, True):
            pages, out = p.whole(tokens[:4], room=2)
            thought = out[-1:]
            assert p.program.space.resolve(Embed, thought, "test")[0].position == 4
            if wait:
                self.rig.loop.run()
            p.call("forward", pages, thought, pages, thought)
            readings.append(p.last(p.forward(tokens[4:], [5], pages, pages)))
        self.check_same(readings[0], readings[1])
        pages, _ = p.whole(tokens[:4], room=1)
        self.check_differ(readings[0], p.last(p.forward(tokens[4:], [5], pages, pages)))

    @quick
    def test_only_the_last_hidden_states_are_written_and_inputs_are_left(self) -> None:
        tokens = self.tokens(6, 15)
        p = self.writer()
        _, every = p.whole(tokens)
        inputs, outputs = p.embed(tokens, range(6)), p.embeds(2)
        p.call("forward", [], inputs, p.pages(6), outputs)
        p.call("forward", [], inputs, p.pages(6), [])
        for one, other in zip(p.read(every[-2:]), p.read(outputs), strict=True):
            self.check_same(one, other)
        again = p.embeds(6)
        p.call("forward", [], inputs, p.pages(6), again)
        self.check_same(p.last(every), p.last(again))

    @quick
    def test_outputs_may_go_to_the_inputs_themselves(self) -> None:
        tokens = self.tokens(4, 16)
        p = self.writer()
        inputs, apart = p.embed(tokens, range(4)), p.embeds(4)
        p.call("forward", [], inputs, p.pages(4), apart)
        wanted = p.read(apart)
        p.call("forward", [], inputs, p.pages(4), inputs[::-1])
        for one, other in zip(wanted, p.read(inputs[::-1]), strict=True):
            self.check_same(one, other)
