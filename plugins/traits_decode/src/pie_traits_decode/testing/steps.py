"""Cases of `decode`: what many steps draw, run and leave, beside a program that takes them one by one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from inferlet.adjusting import Adjustment
from inferlet.dist import Dist
from inferlet.draws import Draws

from pie_core.errors import ArgumentError, HandleError
from pie_core.resource import Embed, KvPage
from pie_core.testing.conformance import quick
from pie_core.testing.rig import Program
from pie_traits_decode.testing.prompting import PROMPT, SETTINGS, Prompting

GREEDY = (0.0, 256, 1.0, 0.0)
LONG = 37  # tokens; more than two pages of 16
NO_BIAS: tuple[Any, ...] = ([], [], 0.0, 0.0, [])


class StepCases(Prompting):
    """See `DecodeSuite`."""

    @quick
    def test_many_steps_are_those_of_a_program_that_takes_them_one_by_one(self) -> None:
        for settings in (GREEDY, *SETTINGS):
            expected, dist = self._one_by_one(LONG, settings)
            p, (emb, _) = self.after_a_prompt(room=LONG)
            assert self.get(p, "decode", *self._at(emb), LONG, *self._how(settings)) == expected
            self._run_last(p, emb, expected)
            assert self._leading(p, emb) == dist

    @quick
    def test_the_hidden_state_goes_into_another_embed_and_the_one_that_was_read_stays(self) -> None:
        expected, dist = self._one_by_one(9, SETTINGS[0])
        p, (emb, other) = self.after_a_prompt(room=9)
        before = self._leading(p, emb)
        drawn = self.get(p, "decode", self.pages, [emb], self.pages, [other], 9, *self._how(SETTINGS[0]))
        assert drawn == expected and self._leading(p, emb) == before
        self._run_last(p, other, drawn)
        assert self._leading(p, other) == dist

    @quick
    def test_steps_go_on_where_the_last_command_ended(self) -> None:
        expected, dist = self._one_by_one(LONG, SETTINGS[0])
        p, (emb, _) = self.after_a_prompt(room=LONG)
        drawn: list[int] = []
        for most in (1, 20, 2, 14):
            first = drawn[-1] if drawn else None
            drawn += self.get(p, "decode", *self._at(emb), most, first, *self._how(SETTINGS[0], len(drawn))[1:])
        assert drawn == expected
        self._run_last(p, emb, drawn)
        assert self._leading(p, emb) == dist

    @quick
    def test_commands_of_different_lengths_that_run_together_are_those_of_each_by_itself(self) -> None:
        alone, waiting = [], []
        for number, most in enumerate((1, 2, 9, LONG)):
            alone.append(self._one_by_one(most, SETTINGS[number], number)[0])
        for number, most in enumerate((1, 2, 9, LONG)):
            p, (emb, _) = self.after_a_prompt(room=most)
            waiting.append(p.call("decode", *self._at(emb), most, *self._how(SETTINGS[number], number)))
        self.rig.loop.run()
        assert [ticket.result() for ticket in waiting] == alone

    @quick
    def test_a_stop_token_ends_it_and_is_not_run(self) -> None:
        expected, _ = self._one_by_one(LONG, SETTINGS[0])
        place = next(at for at in range(3, LONG) if expected[at] not in expected[:at])
        p, (emb, _) = self.after_a_prompt(room=LONG)
        drawn = self.get(p, "decode", *self._at(emb), LONG, None, [expected[place]], *self._how(SETTINGS[0])[2:])
        assert drawn == expected[: place + 1]
        assert self._used(p) == len(PROMPT) + place
        behind = Dist.of(self.get(p, "get_next_dist", [emb], 256))
        assert behind.sample(*SETTINGS[0], Draws(7, place)) == expected[place]

    @quick
    def test_a_text_that_is_waited_for_ends_it_where_it_may_be_whole(self) -> None:
        expected, _ = self._one_by_one(LONG, SETTINGS[0])
        p, (emb, _) = self.after_a_prompt(room=LONG)
        vocabulary = p.call("get_vocabs")
        place = next(at for at in range(3, LONG) if vocabulary[expected[at]].isascii() and vocabulary[expected[at]])
        end = vocabulary[expected[place]].decode()[-1]
        first = next(at for at in range(LONG) if end.encode() in vocabulary[expected[at]])
        how = self._how(SETTINGS[0])
        drawn = self.get(p, "decode", *self._at(emb), LONG, None, [], [f"whatever{end}"], *how[3:])
        assert drawn == expected[: first + 1]

    @quick
    def test_biases_and_penalties_are_those_of_the_sdk(self) -> None:
        adjustment = Adjustment({PROMPT[0]: 2.5, PROMPT[1]: -1.0}, 0.5, 0.25, PROMPT)
        for settings in (GREEDY, SETTINGS[1]):
            expected, _ = self._one_by_one(9, settings, adjustment=adjustment)
            p, (emb, _) = self.after_a_prompt(room=9)
            wanted = [list(adjustment.bias), list(adjustment.bias.values()), 0.5, 0.25, PROMPT]
            assert self.get(p, "decode", *self._at(emb), 9, *self._how(settings), *wanted) == expected

    @quick
    def test_each_step_sees_what_its_row_of_the_mask_says(self) -> None:
        """Also where the pages are named in another order than they are filled in, and some of a page is hidden."""
        draw = random.Random(5)
        for hidden in (False, True):
            rows = [[draw.random() < 0.6 for _ in range(len(PROMPT) + LONG)] for _ in range(LONG)]
            p, (emb, _) = self.after_a_prompt(room=LONG)
            self._hide_some(p, hidden)
            expected = []
            for at in range(LONG + 1):
                expected.append(self.get(p, "get_next_dist", [emb], 1).ids[0])
                held = len(PROMPT) + at
                if at < LONG:
                    p.call("embed_txt", expected[-1:], [held], [emb])
                    mask = [[*rows[at][:held], rows[at][held]]]
                    p.call("forward", self.pages, [emb], self.pages, [emb], mask)
            p, (emb, _) = self.after_a_prompt(room=LONG)
            self._hide_some(p, hidden)
            assert self.get(p, "decode", *self._at(emb), LONG + 1, *self._how(GREEDY), *NO_BIAS, None, rows) == expected
            p, (emb, _) = self.after_a_prompt(room=LONG)
            self._hide_some(p, hidden)
            turned = [self.pages[-1], *self.pages[:-1]]  # the last is empty: the same columns
            arguments = (turned, [emb], self.pages, [emb], LONG + 1, *self._how(GREEDY), *NO_BIAS, None, rows)
            assert self.get(p, "decode", *arguments) == expected

    @quick
    def test_what_is_not_known_yet_cannot_be_used(self) -> None:
        """Until it is done its slots are no context, and its hidden state is refused."""
        p, (emb, other) = self.after_a_prompt(room=20)
        plain = self._behind(p, other)
        drawn = p.call("decode", *self._at(emb), 9)
        self.check_refused(HandleError, p.call, "get_next_dist", [emb])
        meanwhile = self._behind(p, other)
        self.rig.loop.run()
        assert len(drawn.result()) == 9 and meanwhile == plain
        assert self._used(p) == len(PROMPT) + 8
        assert self._behind(p, other) != plain

    @quick
    def test_it_stops_with_its_inferlet(self) -> None:
        p, (emb, _) = self.after_a_prompt(room=900)
        p.call("decode", *self._at(emb), 900)
        for _ in range(8):
            self.rig.loop.step()
        self.rig.layer.close(p.space)
        steps = 0
        while self.rig.loop.step():
            steps += 1
        assert steps < 100
        capacity = self.subject.backend.capacity
        assert self.rig.free() == (capacity[KvPage], capacity[Embed])

    @quick
    def test_tokens_are_told_in_order_while_they_are_drawn(self) -> None:
        p, (emb, _) = self.after_a_prompt(room=LONG)
        ticket, told, times = p.call("decode", *self._at(emb), LONG), list[int](), 0
        assert p.call("drawn", [emb]) == []
        while not ticket.done:
            assert self.rig.loop.step()
            told += (more := p.call("drawn", [emb], len(told)))
            times += bool(more)
        whole = ticket.result()
        assert told == whole[: len(told)] and len(whole) == LONG and times > 2
        assert p.call("drawn", [emb]) == []

    @quick
    def test_it_ends_with_the_next_token_if_nobody_wants_more(self) -> None:
        expected, _ = self._one_by_one(LONG, SETTINGS[0])
        p, (emb, other) = self.after_a_prompt(room=LONG)
        ticket = p.call("decode", *self._at(emb), LONG, *self._how(SETTINGS[0]))
        while len(p.call("drawn", [emb])) < 3:
            assert self.rig.loop.step()
        known = len(p.call("drawn", [emb]))
        p.call("end_decode", [emb])
        self.rig.loop.run()
        drawn = ticket.result()
        assert known <= len(drawn) <= known + 1 and drawn == expected[: len(drawn)]
        assert self._used(p) == len(PROMPT) + len(drawn) - 1
        behind = Dist.of(self.get(p, "get_next_dist", [emb], 256))
        assert behind.sample(*SETTINGS[0], Draws(7, len(drawn) - 1)) == drawn[-1]
        p.call("end_decode", [emb])  # it has
        for call in ("drawn", "end_decode"):
            self.check_refused(ArgumentError, p.call, call, [])
            self.check_refused(ArgumentError, p.call, call, [emb, other])

    @quick
    def test_steps_that_cannot_be_taken_are_refused(self) -> None:
        p, (emb, blank) = self.after_a_prompt(room=3)
        size, vocabulary = self.subject.backend.info.vocab_size, self.subject.backend.info.max_position
        at = self._at(emb)
        wrong: list[tuple[Any, ...]] = [
            (self.pages, [], self.pages, [emb], 1),
            (self.pages, [emb], self.pages, [], 1),
            (self.pages, [emb], self.pages, [emb, blank], 1),
            (*at, 0),
            (*at, 1025),
            (*at, 2, size),
            (*at, 2, None, [size]),
            (*at, 2, None, [], [""]),
            (*at, 2, None, [], [], -1.0),
            (*at, 2, None, [], [], 0.0, 0),
            (*at, 2, None, [], [], 0.0, 256, 1.0, 0.0, 0, 0, [1], []),
            (*at, 2, None, [], [], 0.0, 256, 1.0, 0.0, 0, 0, [], [], float("inf")),
            (*at, 2, None, [], [], 0.0, 256, 1.0, 0.0, 0, 0, [], [], 0.0, 0.0, [], "nobody"),
            (*at, 3, *self._how(GREEDY), *NO_BIAS, None, [[True] * (len(PROMPT) + 1)]),
            (*at, 2, *self._how(GREEDY), *NO_BIAS, None, [[True] * len(PROMPT)]),
            (self.pages, [emb], [], [emb], 2),
            (self.pages, [emb], self.pages, [emb], min(1024, vocabulary)),
        ]
        for arguments in wrong:
            self.check_refused(ArgumentError, p.call, "decode", *arguments)
        self.check_refused(HandleError, p.call, "decode", self.pages, [blank], self.pages, [emb], 1)
        self.check_refused(HandleError, p.call, "decode", self.pages * 2, [emb], self.pages, [emb], 1)
        self.check_refused(HandleError, p.call, "decode", self.pages, [emb], self.pages * 2, [emb], 1)

    # what they are made of

    def _hide_some(self, p: Program, some: bool) -> None:
        size = self.subject.backend.info.kvpage_size
        p.call("mask_kvpage", self.pages[:1], [not some or slot % 3 != 1 for slot in range(size)])

    def _at(self, emb: int) -> tuple[list[int], list[int], list[int], list[int]]:
        return self.pages, [emb], self.pages, [emb]

    def _how(self, settings: Sequence[Any], number: int = 0) -> list[Any]:
        """The arguments from `first` to `draw`."""
        return [None, [], [], *settings, 7, number]

    def _one_by_one(
        self, count: int, settings: Sequence[Any], number: int = 0, adjustment: Adjustment | None = None
    ) -> tuple[list[int], list[int]]:
        """The tokens, and the most probable ones behind the last of them."""
        p, (emb, _) = self.after_a_prompt(room=count)
        drawn: list[int] = []
        for at in range(count):
            top_k = settings[1] if adjustment is None else 256
            dist = Dist.of(self.get(p, "get_next_dist", [emb], top_k))
            if adjustment is not None:
                dist = adjustment(dist, drawn)
            temperature, top_k, top_p, min_p = settings
            drawn.append(dist.sample(temperature, top_k, top_p, min_p, Draws(7, number + at)))
            self._run_last(p, emb, drawn)
        return drawn, self._leading(p, emb)

    def _run_last(self, p: Program, emb: int, drawn: Sequence[int]) -> None:
        p.call("embed_txt", [drawn[-1]], [len(PROMPT) + len(drawn) - 1], [emb])
        p.call("forward", self.pages, [emb], self.pages, [emb])

    def _leading(self, p: Program, emb: int) -> list[int]:
        return list(self.get(p, "get_next_dist", [emb], 8).ids)

    def _behind(self, p: Program, other: int) -> list[int]:
        """The most probable tokens behind another token that sees what is context now."""
        p.call("embed_txt", [9], [100], [other])
        page = p.call("alloc_kvpage", 1)
        p.call("forward", self.pages, [other], page, [other])
        return self._leading(p, other)

    def _used(self, p: Program) -> int:
        return sum(page.tokens for page in p.space.resolve(KvPage, self.pages, "test"))
