"""What any contention policy must leave true: nothing is lost, everyone gets what it asked for or is told why not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, cast

from pie_core.control.contention import ContentionPolicy
from pie_core.control.space import Space
from pie_core.control.ticket import Ticket
from pie_core.errors import PieError, ResourceError, TerminatedError
from pie_core.resource import KvPage, Resource
from pie_core.testing.conformance.books import discrepancies, leaks, snapshot
from pie_core.testing.conformance.suite import Suite, quick, refused
from pie_core.testing.conformance.trial import Trial, make_trial

PAGES = 12
SEEDS = range(8)


class ContentionSuite(Suite):
    """Inferlets that want more pages than there are."""

    def make(self) -> ContentionPolicy:
        """A fresh policy."""
        raise NotImplementedError(f"{type(self).__name__}.make: return a ContentionPolicy")

    @quick
    def test_the_policy_has_a_name(self) -> None:
        assert isinstance(self.make().name, str) and self.make().name

    @quick
    def test_it_is_not_asked_while_there_is_room(self) -> None:
        policy = _Watched(self.make())
        space = make_trial(contention=cast(ContentionPolicy, policy), pages=PAGES).layer.open("a", "user")
        space.allocate(KvPage, PAGES)
        assert policy.asked == 0

    @quick
    def test_more_than_the_pool_ever_holds_is_refused_at_once_and_changes_nothing(self) -> None:
        policy = _Watched(self.make())
        trial = make_trial(contention=cast(ContentionPolicy, policy), pages=PAGES)
        trial.layer.open("old", "user").allocate(KvPage, PAGES - 1)
        greedy = trial.layer.open("greedy", "user")
        before = snapshot(trial.layer)
        refused(ResourceError, greedy.allocate, KvPage, PAGES + 1)
        assert snapshot(trial.layer) == before
        assert policy.asked == 0 and trial.evicted == []

    @quick
    def test_who_gives_way_is_one_of_the_holders_and_choosing_changes_no_books(self) -> None:
        for seed in SEEDS:
            policy = _Watched(self.make())
            _play(make_trial(contention=cast(ContentionPolicy, policy), pages=PAGES), seed, [])
            assert policy.problems == []

    @quick
    def test_every_allocation_is_granted_or_its_inferlet_is_told_why(self) -> None:
        for seed in SEEDS:
            tickets: list[tuple[Space, Ticket]] = []
            policy = self.make()
            trial = make_trial(contention=policy, pages=PAGES)
            _play(trial, seed, tickets)
            for space, ticket in tickets:
                assert ticket.done, f"{space.owner} waits for ever"
                assert ticket.error is None or isinstance(space.ended, TerminatedError)

    @quick
    def test_who_is_ended_is_told_once_by_whom_and_what_helps(self) -> None:
        for seed in SEEDS:
            policy = self.make()
            trial = make_trial(contention=policy, pages=PAGES)
            _play(trial, seed, [])
            ended = [space.owner for space, _ in trial.evicted]
            assert len(ended) == len(set(ended))
            for space, why in trial.evicted:
                assert space.ended is why
                assert policy.name in str(why) and space.owner in str(why)
                assert refused(TerminatedError, space.check_alive) is why

    @quick
    def test_pages_are_conserved_at_every_moment_and_come_back_at_the_end(self) -> None:
        for seed in SEEDS:
            trial = make_trial(contention=self.make(), pages=PAGES)
            problems: list[str] = []
            trial.loop.later(0.0, _Auditor(trial, problems))
            _play(trial, seed, [])
            assert problems == []
            assert leaks(trial.layer) == []

    @quick
    def test_one_that_waits_is_served_when_the_others_have_ended(self) -> None:
        trial = make_trial(contention=self.make(), pages=PAGES)
        old, new = trial.layer.open("old", "user"), trial.layer.open("new", "user")
        old.allocate(KvPage, PAGES)
        ticket = _work(new, PAGES)
        trial.layer.close(old)
        trial.loop.finish()
        assert new.ended is not None or (ticket is not None and ticket.done and ticket.error is None)

    @quick
    def test_two_that_wait_for_each_other_do_not_wait_for_ever(self) -> None:
        trial = make_trial(contention=self.make(), pages=PAGES)
        one, other = trial.layer.open("one", "user"), trial.layer.open("other", "user")
        for space in (one, other):
            space.allocate(KvPage, PAGES // 2)
        tickets = [_work(space, PAGES // 2) for space in (one, other)]
        trial.loop.finish()
        served = [ticket is not None and ticket.done and ticket.error is None for ticket in tickets]
        assert any(served) or one.ended is not None or other.ended is not None

    def test_equal_input_gives_equal_choices(self) -> None:
        for seed in SEEDS:
            chosen = []
            for _ in range(2):
                trial = make_trial(contention=self.make(), pages=PAGES)
                _play(trial, seed, [])
                chosen.append([space.owner for space, _ in trial.evicted])
            assert chosen[0] == chosen[1]


class _Watched:
    """A policy, and what was wrong with its answers."""

    def __init__(self, policy: ContentionPolicy) -> None:
        self.name = policy.name
        self.asked = 0
        self.problems: list[str] = []
        self._policy = policy

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._policy, attribute)

    def victim(self, kind: type[Resource], requester: Space, holders: Sequence[Space]) -> Space | None:
        before = [_holdings(space) for space in holders]
        chosen = self._policy.victim(kind, requester, holders)
        self.asked += 1
        if chosen is not None and chosen not in holders:
            self.problems.append(f"{chosen.owner} does not hold a {kind.kind}")
        if [_holdings(space) for space in holders] != before:
            self.problems.append("choosing changed what the inferlets hold")
        return chosen


def _holdings(space: Space) -> dict[type[Resource], list[int]]:
    return {kind: list(table) for kind, table in space.tables.items()}


class _Auditor:
    """Looks at the books again and again while the inferlets run."""

    def __init__(self, trial: Trial, problems: list[str]) -> None:
        self._trial, self._problems, self._left = trial, problems, 200

    def __call__(self) -> None:
        self._problems += discrepancies(self._trial.layer)
        self._left -= 1
        if self._left:
            self._trial.loop.later(0.004, self)


def _play(trial: Trial, seed: int, tickets: list[tuple[Space, Ticket]]) -> None:
    """Seven inferlets arrive one after the other and want pages, more at a time than there are for all of them."""
    chance = random.Random(seed)
    for number in range(7):
        arrival = chance.choice([0.0, 0.01, 0.05, 0.1])
        trial.loop.later(arrival, _Actor(trial, f"p{number}", chance.randrange(1 << 30), tickets))
    trial.loop.finish()


class _Actor:
    """One inferlet: wants pages, works on them, frees some, and ends after a while."""

    def __init__(self, trial: Trial, name: str, seed: int, tickets: list[tuple[Space, Ticket]]) -> None:
        self._trial, self._name, self._tickets = trial, name, tickets
        self._chance = random.Random(seed)
        self._left = 6
        self._space: Space | None = None
        self._held: list[list[int]] = []

    def __call__(self) -> None:
        space = self._space = self._space or self._trial.layer.open(self._name, "user")
        self._left -= 1
        if not self._left:
            self._trial.layer.close(space)
            return
        try:
            ticket = self._step(space)
        except TerminatedError:
            return
        self._tickets.append((space, ticket))
        pause = self._chance.choice([0.0, 0.005, 0.03])
        ticket.watch(lambda _: self._trial.loop.later(pause, self))

    def _step(self, space: Space) -> Ticket:
        space.check_alive()
        if self._held and self._chance.random() < 0.5:
            space.free(KvPage, self._held.pop(0))
        room = PAGES - space.holds(KvPage)
        if not room:
            space.free(KvPage, self._held.pop(0))
            room = PAGES - space.holds(KvPage)
        pages = space.allocate(KvPage, self._chance.randint(1, min(5, room)))
        self._held.append(pages)
        ticket: Ticket = space.call("trial_work", space.create_queue(), [[], [], pages])
        return ticket


def _work(space: Space, pages: int) -> Ticket | None:
    """Work on fresh pages; None if the inferlet was ended instead."""
    try:
        arguments: list[Any] = [[], [], space.allocate(KvPage, pages)]
        ticket: Ticket = space.call("trial_work", space.create_queue(), arguments)
    except PieError:
        return None
    return ticket
