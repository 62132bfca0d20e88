"""The heart of the control layer: any batching gives what running the commands one by one gives.

Programs are random; the oracle is the same program with a drained loop after every command, so that each runs alone
and in the order of enqueueing. FakeBackend's vectors are hashes of all a token depends on, so equality is exact. (On
the torch backend: tests/integration/test_equivalence_torch.py.)
"""

from hypothesis import given, settings

from pie_core.testing.rig import make_rig

from .players import ADAPTERS, EMBEDS, PAGES, SIZE, play, program


def play_fake(steps, alone, batch=4096):
    rig = make_rig(pages=2 * PAGES + 2, embeds=2 * EMBEDS, page_size=SIZE, batch=batch, adapters=ADAPTERS)
    return play(rig, lambda page, slot: rig.backend.slots[page, slot], steps, alone)


@settings(max_examples=300, deadline=None)
@given(program)
def test_any_interleaving_gives_what_running_one_by_one_gives(steps):
    assert play_fake(steps, alone=False) == play_fake(steps, alone=True)


@settings(max_examples=100, deadline=None)
@given(program)
def test_small_batches_change_nothing(steps):
    assert play_fake(steps, alone=False, batch=2) == play_fake(steps, alone=True)
