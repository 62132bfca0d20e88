"""Cases of `forward` and `mask_kvpage`: what a mask shows and hides."""

from __future__ import annotations

from pie_core.errors import ArgumentError
from pie_core.testing.conformance import quick
from pie_traits_text.testing.reading import TextSuite


class MaskCases(TextSuite):
    """A part of `ForwardSuite`."""

    @quick
    def test_leaving_a_page_out_gives_what_hiding_its_tokens_gives(self) -> None:
        tokens = self.tokens(2 * self.size + 1, 20)
        p = self.writer()
        pages, _ = p.whole(tokens[:-1])
        left_out = p.forward(tokens[-1:], [len(tokens) - 1], pages[1:])
        p.call("mask_kvpage", pages[:1], [False] * self.size)
        hidden = p.forward(tokens[-1:], [len(tokens) - 1], pages)
        self.check_same(p.last(left_out), p.last(hidden))

    @quick
    def test_a_hidden_token_is_not_seen_and_can_be_shown_again(self) -> None:
        tokens = self.tokens(6, 21)
        p = self.writer()
        pages, _ = p.whole(tokens[:5])
        before = p.last(p.forward(tokens[5:], [5], pages))
        p.call("mask_kvpage", pages, [True, False, True, True, True])
        hidden = p.last(p.forward(tokens[5:], [5], pages))
        p.call("mask_kvpage", pages, [True] * 5)
        after = p.last(p.forward(tokens[5:], [5], pages))
        self.check_differ(before, hidden)
        self.check_same(before, after)

    @quick
    def test_hiding_is_for_the_commands_enqueued_from_then_on(self) -> None:
        tokens = self.tokens(6, 22)
        p = self.writer()
        pages, _ = p.whole(tokens[:5])
        early = p.forward(tokens[5:], [5], pages)
        p.call("mask_kvpage", pages, [False] * 5)
        late = p.forward(tokens[5:], [5], pages)
        shown, _ = p.whole(tokens[:5])
        self.check_same(p.last(early), p.last(p.forward(tokens[5:], [5], shown)))
        self.check_same(p.last(late), p.last(p.forward(tokens[5:], [5])))

    @quick
    def test_a_mask_hides_what_mask_kvpage_hides(self) -> None:
        tokens = self.tokens(6, 23)
        visible = [True, False, True, False, True]
        p = self.writer()
        pages, _ = p.whole(tokens[:5])
        masked = p.forward(tokens[5:], [5], pages, None, [[*visible, True]])
        p.call("mask_kvpage", pages, visible)
        hidden = p.forward(tokens[5:], [5], pages)
        self.check_same(p.last(masked), p.last(hidden))

    @quick
    def test_a_mask_has_columns_for_hidden_tokens_but_cannot_show_them(self) -> None:
        tokens = self.tokens(6, 24)
        p = self.writer()
        pages, _ = p.whole(tokens[:5])
        p.call("mask_kvpage", pages, [True, True, False, True, True])
        shown, kept = (
            p.forward(tokens[5:], [5], pages, None, [[True, True, column, True, True, True]])
            for column in (True, False)
        )
        self.check_same(p.last(shown), p.last(kept))

    @quick
    def test_a_causal_mask_gives_what_no_mask_gives(self) -> None:
        tokens = self.tokens(8, 25)
        p = self.writer()
        pages, _ = p.whole(tokens[:5])
        mask = [[True] * 5 + [column <= row for column in range(3)] for row in range(3)]
        plain, masked = (p.forward(tokens[5:], range(5, 8), pages, None, rows) for rows in (None, mask))
        for one, other in zip(p.read(plain), p.read(masked), strict=True):
            self.check_same(one, other)

    @quick
    def test_a_mask_may_show_what_lies_ahead(self) -> None:
        tokens = self.tokens(4, 26)
        p = self.writer()
        firsts = [
            p.read(p.forward([*tokens[:2], last], range(3), (), None, mask)[:1])[0]
            for mask in (None, [[True] * 3] * 3)
            for last in tokens[2:]
        ]
        self.check_same(firsts[0], firsts[1])
        self.check_differ(firsts[2], firsts[3])

    @quick
    def test_a_tree_mask_gives_each_branch_what_it_gets_alone(self) -> None:
        tokens = self.tokens(9, 27)
        context, tree = tokens[:5], tokens[5:]
        parents = [-1, 0, 0, 2]  # a root, two children of it, a grandchild below the second
        paths = [[0], [0, 1], [0, 2], [0, 2, 3]]
        p = self.writer()
        pages, _ = p.whole(context)
        mask = [[True] * 5 + [node in path for node in range(4)] for path in paths]
        assert all(
            path[:-1] == (paths[parent] if parent >= 0 else []) for path, parent in zip(paths, parents, strict=True)
        )
        together = p.forward(tree, [4 + len(path) for path in paths], pages, None, mask)
        for embed, path in zip(together, paths, strict=True):
            alone = p.forward([tree[node] for node in path], range(5, 5 + len(path)), pages)
            self.check_same(p.last([embed]), p.last(alone))

    @quick
    def test_a_token_that_sees_nothing_is_the_same_after_any_context_and_disturbs_nobody(self) -> None:
        tokens = self.tokens(6, 28)
        mask = [[False] * 6, [True] * 4 + [False, True]]
        blind, other = [], []
        for context in (tokens[:4], tokens[3::-1]):
            p = self.writer(str(context))
            pages, _ = p.whole(context)
            first, second = p.read(p.forward(tokens[4:], [4, 5], pages, None, mask))
            blind.append(first)
            other.append((second, p.last(p.forward(tokens[5:], [5], pages))))
        self.check_same(blind[0], blind[1])
        for one, wanted in other:
            self.check_same(one, wanted)

    @quick
    def test_values_of_a_mask_are_per_token_or_per_slot(self) -> None:
        tokens = self.tokens(4, 29)
        p = self.writer()
        readings = []
        for rest in ([], [False] * (self.size - 3)):
            pages, _ = p.whole(tokens[:3])
            p.call("mask_kvpage", pages, [False, True, True, *rest])
            readings.append(p.last(p.forward(tokens[3:], [3], pages)))
        self.check_same(readings[0], readings[1])

    @quick
    def test_a_mask_of_the_wrong_shape_is_refused(self) -> None:
        p = self.writer()
        pages, _ = p.whole(self.tokens(3, 30))
        inputs = p.embed(self.tokens(2), range(3, 5))
        into = p.pages(2)
        for mask in ([[True] * 4] * 2, [[True] * 6] * 2, [[True] * 5], [[True] * 5] * 3):
            self.check_refused(ArgumentError, p.call, "forward", pages, inputs, into, [], mask)
        for values in ([True] * 2, [True] * (self.size + 1), []):
            self.check_refused(ArgumentError, p.call, "mask_kvpage", pages, values)
