"""The promise: who publishes one declaration and one handler gets everything else, and touches no core file."""

import asyncio

import pytest

from pie_core import Embed
from pie_core.plugins import Selection
from pie_core.registry import load_handlers, load_registry
from pie_core.testing import FakeBackend, fake_handlers, fake_model, run_inferlet
from pie_core.testing.conformance import TraitSuite, run_suite
from pie_core.testing.fake import digest

DECLARATION = '''
    """Steering: mix Embeds, count words, hold a seat."""

    from typing import Annotated

    import msgspec

    from pie_core import U32, ArgumentError, Command, ControlCall, Embed, Query, Reads, Trait, Writes, hookimpl


    class Report(msgspec.Struct, frozen=True):
        """What came of it."""

        words: int
        longest: str


    class MixEmb(Command):
        """Write to `out` the weighted sum of `one` and `other`, at the position of `one`."""

        one: Reads[Embed]
        other: Reads[Embed]
        out: Writes[Embed]
        weights: tuple[float, ...] = (0.5, 0.5)

        def prepare(self, model):
            if not len(self.one) == len(self.other) == len(self.out):
                raise ArgumentError("mix_emb: one Embed each")
            for source, target in zip(self.one, self.out):
                target.position = source.position


    class Inspect(Query):
        """Count words."""

        returns = Report
        text: str


    class CountEmbs(ControlCall):
        """How many Embeds this inferlet holds."""

        returns = U32

        def apply(self, space):
            return space.holds(Embed)


    STEERING = Trait(
        name="steering",
        version="1.2.0",
        doc="Mix Embeds.",
        calls=(MixEmb, Inspect, CountEmbs),
        requires=("input_text>=1,<2",),
    )


    @hookimpl
    def pie_trait():
        return STEERING
'''

HANDLER = """
    from pie_core import HandlerSpec, hookimpl
    from pie_core.testing.fake import digest

    import acme_steering


    class Steering:
        def __init__(self, backend):
            self.embeds = backend.embeds

        def mix_emb(self, batch):
            for command in batch:
                for one, other, out in zip(command.one, command.other, command.out):
                    self.embeds[out.index] = digest(self.embeds[one.index], self.embeds[other.index], command.weights)

        def inspect(self, query):
            words = query.text.split()
            return acme_steering.Report(len(words), max(words, key=len))


    @hookimpl
    def pie_handlers():
        return [HandlerSpec("steering>=1,<2", "fake", Steering)]
"""

PROGRAM = """
# /// inferlet
# traits = ["steering", "output_text"]
# ///
from inferlet import ArgumentError, alloc_emb, count_embs, embed_txt, get_auto_model, get_next_dist, send
from inferlet import inspect, mix_emb

async def main():
    q = get_auto_model().create_queue()
    a, b, c, d = alloc_emb(q, 4)
    embed_txt(q, [1, 2], [0, 5], [a, b])
    mix_emb(q, a, b, c)                              # a single handle stands for a list of one
    await mix_emb(q, b, other=[c], out=[d], weights=[0.25, 0.75])
    send(str((await get_next_dist(q, d)).max_index()))
    report = inspect(q, "to be or maybe not")
    send(f"{report.words} {report.longest} {count_embs(q)}")
    for wrong in (([a, b], [c], [d]), (a, b, c, ["x"]), (a, 99, c)):
        try:
            mix_emb(q, *wrong)
        except ArgumentError as error:
            send(str(error))
    send(mix_emb.__doc__)
"""


@pytest.fixture
def steering(install):
    install("acme-steering", {"acme_steering": DECLARATION}, {"pie_core.traits": {"steering": "acme_steering"}})
    install("acme-steering-fake", {"acme_fake": HANDLER}, {"pie_core.handlers": {"fake.steering": "acme_fake"}})


def run(source, backend):
    async def main():
        model = fake_model(
            backend, load_registry(Selection()), [*fake_handlers(), *load_handlers("fake", "pie-core", Selection())]
        )
        try:
            return await run_inferlet(source, models={"fake": model})
        finally:
            model.close()

    return asyncio.run(main())


def test_a_new_trait_works_from_declaration_to_program_without_any_change_to_the_core(steering):
    backend = FakeBackend()
    outcome = run(PROGRAM, backend)
    assert outcome.ended.status == "finished", outcome.ended.error
    first = digest(digest("token", 1), digest("token", 2), [0.5, 0.5])
    second = digest(digest("token", 2), first, [0.25, 0.75])
    assert second in backend.embeds.values()
    dist, report, *errors, doc = outcome.messages
    assert dist.isdigit() and report == "5 maybe 4"
    assert errors[0] == "mix_emb: one Embed each"
    assert "mix_emb: argument `weights`: expected float, got 'x' (str)" in errors[1]
    assert "mix_emb: argument `other`: 99 is not a embed of this inferlet" in errors[2]
    assert doc.startswith("Write to `out` the weighted sum")


def test_commands_of_a_new_trait_are_ordered_by_what_they_declare_to_touch(steering):
    """No synchronization in the program: the declaration's Reads and Writes are all the control layer knows."""
    source = """
from inferlet import *
async def main():
    q, other = get_auto_model().create_queue(), get_auto_model().create_queue()
    a, b = alloc_emb(q, 2)
    embed_txt(q, [1, 2], [0, 1], [a, b])
    for step in range(20):
        mix_emb(other if step % 2 else q, a, b, a)
        embed_txt(q, step, 1, b)
    await synchronize(q)
    await synchronize(other)
"""
    backend = FakeBackend()
    assert run(source, backend).ended.status == "finished"
    value, other = digest("token", 1), digest("token", 2)
    for step in range(20):
        value, other = digest(value, other, [0.5, 0.5]), digest("token", step)
    assert value in backend.embeds.values()


def test_without_its_handler_the_trait_is_not_offered_and_the_program_refused(install):
    install("acme-steering", {"acme_steering": DECLARATION}, {"pie_core.traits": {"steering": "acme_steering"}})
    with pytest.raises(Exception, match=r"needs steering.*backend 'fake' has no handler for it"):
        run(PROGRAM, FakeBackend())


def test_the_core_names_embeds_in_the_pool_of_a_strangers_command(steering):
    """A handle of the wrong kind is refused by what the declaration says, not by what the handler would do."""
    source = """
from inferlet import *
async def main():
    q = get_auto_model().create_queue()
    page, (emb,) = alloc_kvpage(q, 1), alloc_emb(q, 1)
    mix_emb(q, page, emb, emb)
"""
    ended = run(source, FakeBackend()).ended
    assert ended.status == "failed" and f"is not a {Embed.kind} of this inferlet" in ended.error


def test_the_declaration_alone_brings_cases_for_every_call(steering):
    class Steering(TraitSuite):
        trait = load_registry(Selection()).traits["steering"]

        def make(self):
            return FakeBackend(embeds=512)

        def handlers(self):
            return [*fake_handlers(), *load_handlers("fake", "pie-core", Selection())]

    outcomes = {result.case: result.status for result in run_suite(Steering, only_quick=True)}
    assert set(outcomes.values()) == {"passed"}
    assert {
        "test_the_model_has_the_trait_and_what_its_cases_use",
        "test_mix_emb_refuses_arguments_of_wrong_types",
        "test_mix_emb_refuses_handles_that_are_not_its_own",
        "test_mix_emb_needs_a_queue_of_its_own",
        "test_inspect_refuses_arguments_of_wrong_types",
        "test_count_embs_refuses_too_few_and_too_many_arguments",
    } < set(outcomes)
