"""The simulation's own books, where they were once held against a server that was right."""

from pie_core import KvPage
from pie_core.control.swapping import Swapped
from pie_core.testing import FakeBackend
from pie_core.testing.rig import make_rig
from pie_core.testing.simulation import Client, Visit, World, simulate
from pie_core.testing.simulation.faults import Workshop
from pie_core.testing.simulation.ledger import Ledger
from pie_core.testing.simulation.moves import Move, Moves


def make_ledger(complaints):
    backend = FakeBackend(4, 4, 4)
    workshop = Workshop(backend, {}, {})
    moves = Moves(backend.swapper, 1 << 20, workshop.failed, complaints.append)
    return Ledger(workshop, backend.batch_limit, moves, complaints.append, lambda owner: None)


def test_no_later_page_is_taken_for_one_that_was_lost():
    """It is known by its id, which Python gives to another object as soon as nothing holds the page."""
    space, ledger = make_rig().open().space, make_ledger([])
    lost = [KvPage(4) for _ in range(100)]
    ids = set(map(id, lost))
    ledger._lose(Move(Swapped(space, KvPage, []), space.owner, (), 1, wanted=tuple(lost)))
    del lost
    fresh = [KvPage(4) for _ in range(1000)]
    assert ids.isdisjoint(map(id, fresh))


def test_what_is_on_the_device_behind_a_failure_counts_as_failed():
    """A pass is skipped while what it builds on is still on the device, in a wave behind the one that failed."""
    operations = (
        ("pages_wanted", 3),
        ("embeds_wanted", 3),
        ("embed", 0, (161, 44, 89), 16, 5, False),
        ("embed", 1, (251,), 32, 3, False),
        ("forward", 1, (), (0,), (1,), (), None, False),
        ("forward", 1, (), (3,), (1,), (), None, False),
        ("forward", 0, (), (2,), (1,), (), None, True),
    )
    world = World(
        (Visit(operations),),
        seed=36686,
        pages=8,
        embeds=24,
        wave_s=0.001,
        dispatch="t-only t_ms=0.5",
        contention="fcfs-kill",
    )
    assert simulate(world).broken is None


def test_who_was_brought_back_has_gone_on_when_a_command_was_skipped():
    """A copy fails on its way back, so that what reads it is skipped; others of the same inferlet wait on."""
    first = (("embeds_wanted", 2), ("embed", 2, (98,), 0, 2, True))
    second = (
        ("pages_wanted", 2),
        ("embeds_wanted", 2),
        ("embed", 2, (44, 33, 89, 140), 0, 0, False),
        ("forward", 0, (5, 5), (3, 5), (1, 4), (), None, False),
        ("sleep", 0.0),
        ("forward", 0, (0,), (3,), (3,), (), 628, True),
        ("pages_wanted", 2),
        ("forward", 0, (), (3, 3), (7,), (5, 2), None, False),
        ("pages_again", 0, 5),
        ("forward", 2, (0, 5), (1,), (3, 3), (6, 3), None, False),
        ("synchronize", 0),
    )
    third = (
        ("pages_wanted", 4),
        ("embeds_wanted", 3),
        ("embed", 0, (194,), 11, 0, True),
        ("dist", 2, 4, 3, "await"),
        ("embed", 0, (1,), 0, 6, True),
        ("forward", 0, (3,), (2, 4), (0,), (4,), None, True),
        ("pages_again", 0, 4),
        ("forward", 0, (5,), (1, 7), (4,), (), 915, True),
    )
    world = World(
        (
            Visit(first, "ann", 0.0154, Client(messages=(0.0,), pause=0.05)),
            Visit(second, "ann", 0.0114, Client(messages=(0.02, 0.001))),
            Visit(third, "bob", 0.0, Client(messages=(0.001, 0.001))),
        ),
        seed=20388,
        pages=6,
        embeds=6,
        wave_s=0.5,
        swap_in_fails=0,
        shuffled=True,
        dispatch="k-only",
        contention="swap",
    )
    assert simulate(world).broken is None


def test_those_in_a_cycle_count_their_time_anew_when_an_export_expires():
    """Two hold a page each and want four more; of the other three, two are exported for a while."""
    author = (("pages_wanted", 2), ("export", (0,), "0.0", 0.2), ("export", (1,), "0.1", 0.42))
    hungry = (
        ("pages_wanted", 1),
        ("embeds_wanted", 1),
        ("embed", 0, (1,), 0, 0, False),
        ("forward", 0, (), (0,), (0,), (), None, False),
        ("synchronize", 0),
        ("pages_wanted", 4),
        ("forward", 0, (), (0,), (1,), (), None, False),
        ("synchronize", 0),
    )
    visits = (Visit(author, arrives=0.0), Visit(hungry, arrives=0.01), Visit(hungry, arrives=0.02))
    finding = simulate(World(visits, pages=5, embeds=6, dispatch="eager", contention="wait"))
    assert finding.broken is None
    first, second, end = (
        float(line.split()[1]) for line in finding.log if line.endswith((" is withdrawn", " gives way"))
    )
    assert 0.2 < first < second < end - 0.25
