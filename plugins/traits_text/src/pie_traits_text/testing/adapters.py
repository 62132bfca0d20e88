"""Cases of `forward_with_adapter`. A model without adapters passes those that need one."""

from __future__ import annotations

from pie_core.errors import ArgumentError
from pie_core.testing.conformance import quick
from pie_traits_text.testing.reading import TextSuite


class AdapterCases(TextSuite):
    """A part of `ForwardSuite`. Load the model with two adapters or more."""

    @quick
    def test_list_adapters_gives_those_of_the_model(self) -> None:
        listed = self.open_program().space.call("list_adapters", None, ())
        assert listed == list(self.subject.backend.info.adapters)

    @quick
    def test_an_unknown_adapter_is_refused(self) -> None:
        p = self.writer()
        inputs, pages = p.embed(self.tokens(2), range(2)), p.pages(2)
        self.check_refused(ArgumentError, p.call, "forward_with_adapter", "no such adapter", [], inputs, pages, [])

    @quick
    def test_each_adapter_computes_something_else(self) -> None:
        tokens = self.tokens(4, 31)
        p = self.writer()
        names = (None, *self.subject.backend.info.adapters)
        readings = [p.last(p.forward(tokens, range(4), adapter=name)) for name in names]
        for place, reading in enumerate(readings):
            for other in readings[:place]:
                self.check_differ(reading, other)

    @quick
    def test_adapters_mixed_in_a_batch_give_what_each_gives_alone(self) -> None:
        names = (None, *self.subject.backend.info.adapters, None)
        texts = [self.tokens(4, 32 + place) for place in range(len(names))]
        p = self.writer()
        together = [p.forward(text, range(4), adapter=name) for text, name in zip(texts, names, strict=True)]
        self.rig.loop.run()
        for text, name, end in zip(texts, names, together, strict=True):
            alone = p.forward(text, range(4), adapter=name)
            self.rig.loop.run()
            self.check_same(p.last(end), p.last(alone), self.batch_tolerance)

    @quick
    def test_keys_of_an_adapter_serve_a_call_without_one(self) -> None:
        tokens = self.tokens(4, 33)
        p = self.writer()
        readings = []
        for name in (None, *self.subject.backend.info.adapters):
            pages = p.pages(4)
            p.forward(tokens[:3], range(3), (), pages, adapter=name)
            readings.append(p.last(p.forward(tokens[3:], [3], pages)))
        for place, reading in enumerate(readings):
            for other in readings[:place]:
                self.check_differ(reading, other)
