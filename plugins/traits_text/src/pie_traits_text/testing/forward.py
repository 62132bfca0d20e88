"""The suite of trait `forward`: its three parts, what it refuses, and that company in a batch changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pie_core.command import Command
from pie_core.errors import ArgumentError, DeviceError, HandleError
from pie_core.hookspecs import hookimpl
from pie_core.testing.conformance import TraitSuite, quick
from pie_core.testing.conformance.audit import Unreadable
from pie_core.testing.conformance.suite import refused
from pie_traits_text.forward import FORWARD, Forward
from pie_traits_text.testing.adapters import AdapterCases
from pie_traits_text.testing.context import ContextCases
from pie_traits_text.testing.masks import MaskCases
from pie_traits_text.testing.reading import Reading, Writer


class ForwardSuite(ContextCases, MaskCases, AdapterCases):
    """Any backend that realizes `forward`."""

    trait = FORWARD

    @quick
    def test_a_call_among_many_gives_what_it_gives_alone(self) -> None:
        together = self._company(at_once=True)
        alone = self._company(at_once=False)
        for one, other in zip(together, alone, strict=True):
            self.check_same(one, other, self.batch_tolerance)

    @quick
    def test_steps_of_one_shape_in_one_batch_are_kept_apart(self) -> None:
        texts = [self.tokens(4, 41 + place) for place in range(4)]
        writers = [self.writer(f"p{place}") for place in range(4)]
        pages = [p.whole(text[:3], room=1)[0] for p, text in zip(writers, texts, strict=True)]
        self.rig.loop.run()
        ends = [p.forward(t[3:], [3], kv, kv) for p, t, kv in zip(writers, texts, pages, strict=True)]
        for p, text, end in zip(writers, texts, ends, strict=True):
            self.check_same(p.last(end), p.last(p.whole(text)[1]))

    @quick
    def test_a_call_that_fails_takes_no_other_of_its_batch_along(self) -> None:
        """The batch is run again one by one, so whatever was done before the error must do no harm."""
        wanted = self._company(at_once=False)
        self.setup_method()
        bad = self.writer("bad")
        spoilt = bad.embed(self.tokens(_SPOILT), range(_SPOILT))
        waiting = self._enqueue()
        self.audit.spoil = _spoil
        ticket = bad.call("forward", [], spoilt, bad.pages(_SPOILT), [])
        found = [reading for p, embeds in waiting for reading in p.read(embeds)]
        refused(DeviceError, ticket.result)
        for one, other in zip(found, wanted, strict=True):
            self.check_same(one, other, self.batch_tolerance)

    @quick
    def test_it_runs_on_any_thread(self) -> None:
        wanted = self._company(at_once=True)
        self.setup_method()
        self.audit.threaded = True
        for one, other in zip(self._company(at_once=True), wanted, strict=True):
            self.check_same(one, other, self.batch_tolerance)

    @quick
    def test_calls_that_cannot_work_are_refused_before_anything_runs(self) -> None:
        p = self.writer()
        full, inputs = p.whole(self.tokens(self.size))
        one, room, blank = inputs[:1], p.pages(1), p.embeds(1)
        far = p.embed(self.tokens(1), [self.subject.backend.info.max_position - 1])
        p.call("forward", [], far, p.pages(1), far)  # its output stands one past the model's range
        many = p.embed(self.tokens(self.size + 1), range(self.size + 1))
        for kind, arguments in (
            (ArgumentError, (full, [], room, [])),
            (ArgumentError, (full, one, full, [])),
            (ArgumentError, (full, one, [], [])),
            (ArgumentError, ([], many, room, [])),
            (ArgumentError, (full, one, room, inputs[:2])),
            (ArgumentError, (full, far, room, [])),
            (HandleError, (full, inputs[:2], room, [inputs[0]] * 2)),
            (HandleError, (full * 2, one, room, [])),
            (HandleError, (full, inputs[:2], room * 2, [])),
            (HandleError, (full, blank, room, [])),
        ):
            self.check_refused(kind, p.call, "forward", *arguments)

    def test_a_long_context_over_scattered_pages_is_whole(self) -> None:
        tokens = self.tokens(6 * self.size, 40)
        p = self.writer()
        wanted = p.last(p.whole(tokens)[1])
        pages = p.pages(2 * len(tokens))[::-2]  # neither side by side nor in order
        for start in range(0, len(tokens), 5):
            chunk = tokens[start : start + 5]
            found = p.forward(chunk, range(start, start + len(chunk)), pages, pages)
        self.check_same(wanted, p.last(found))

    def _company(self, at_once: bool) -> list[Reading]:
        """The readings of calls of all shapes; those of a fresh control layer if they run one by one."""
        if not at_once:
            readings: list[Reading] = []
            for place in range(len(_SHAPES)):
                p, embeds = self._start(place)
                self.rig.loop.run()
                readings += p.read(embeds())
            return readings
        return [reading for p, embeds in self._enqueue() for reading in p.read(embeds)]

    def _enqueue(self) -> list[tuple[Writer, list[int]]]:
        started = [self._start(place) for place in range(len(_SHAPES))]
        self.rig.loop.run()  # all contexts are there: the calls themselves meet in one batch
        return [(p, embeds()) for p, embeds in started]

    def _start(self, place: int) -> tuple[Writer, Callable[[], list[int]]]:
        """An inferlet whose context runs now, and the call that goes on from it."""
        context, new, masked = _SHAPES[place]
        tokens = self.tokens(context + new, 50 + place)
        p = self.writer(f"{place}-{len(self.rig.layer.spaces)}")
        pages = p.pages(context + new)
        if context:
            p.forward(tokens[:context], range(context), [], pages)
        mask = [[(row + column) % 3 != 1 for column in range(context + new)] for row in range(new)] if masked else None
        return p, lambda: p.forward(tokens[context:], range(context, context + new), pages, pages, mask)


def _spoil(command: Command) -> Command:
    """A forward of `_SPOILT` tokens becomes one that the device fails on."""
    if isinstance(command, Forward) and len(command.iemb) == _SPOILT:
        return msgspec.structs.replace(command, iemb=(Unreadable(),) * _SPOILT)
    return command


_SPOILT = 6  # tokens; none of the shapes below has as many
_SHAPES = [
    (0, 1, False),
    (3, 1, False),
    (0, 5, False),
    (9, 1, False),
    (9, 4, True),
    (5, 1, False),
    (2, 3, False),
    (7, 1, True),
]
"""(context tokens, new tokens, with a mask) of the calls that share a batch."""


@hookimpl
def pie_suite() -> type[TraitSuite]:
    return ForwardSuite
