"""What any dispatch policy must leave true: work gets done, once, in its order, and without idling beyond a bound."""

from __future__ import annotations

import random
from typing import Any, ClassVar, cast

from pie_core.control.batching import Backlog
from pie_core.control.dispatch import DispatchPolicy
from pie_core.control.submission import Submission
from pie_core.control.ticket import Ticket
from pie_core.resource import Embed, KvPage
from pie_core.testing.conformance.suite import Suite, quick
from pie_core.testing.conformance.trial import Trial, make_trial

STEPS = 12  # of an inferlet in a trial
SEEDS = range(5)
GRAIN_S = 1e-4  # of timers
FLOOD_S = 1e-4  # from one command of the flood to the next


class DispatchSuite(Suite):
    """idle_s: the longest, in seconds, that the policy may leave the device idle while a command is ready."""

    idle_s: ClassVar[float] = 0.0

    def make(self) -> DispatchPolicy:
        """A fresh policy."""
        raise NotImplementedError(f"{type(self).__name__}.make: return a DispatchPolicy")

    @quick
    def test_the_policy_has_a_name(self) -> None:
        assert isinstance(self.make().name, str) and self.make().name

    @quick
    def test_a_lone_command_is_launched_within_the_bound(self) -> None:
        trial = make_trial(self.make())
        space = trial.layer.open("a", "user")
        ticket = space.call("trial_note", space.create_queue(), [space.allocate(Embed, 1)])
        trial.loop.finish()
        assert ticket.done and ticket.error is None
        assert trial.device.launches[0].at <= self.idle_s + GRAIN_S

    @quick
    def test_the_device_does_not_idle_beyond_the_bound_while_a_command_is_ready(self) -> None:
        for seed in SEEDS:
            trial = self._load(seed)
            free_since = 0.0
            for launch in trial.device.launches:
                ready_since = max(free_since, min(command.enqueued_at for command in launch.commands))
                assert launch.at - ready_since <= self.idle_s + GRAIN_S
                assert launch.ended_at is not None
                free_since = launch.ended_at

    @quick
    def test_every_command_runs_and_runs_once(self) -> None:
        for seed in SEEDS:
            tickets: list[Ticket] = []
            trial = self._load(seed, tickets)
            launched = [command.seq for launch in trial.device.launches for command in launch.commands]
            assert len(launched) == len(set(launched)), "launched twice"
            assert sorted(launched) == list(range(1, len(tickets) + 1)), "lost"
            assert all(ticket.done and ticket.error is None for ticket in tickets)

    @quick
    def test_commands_that_touch_one_thing_keep_their_order(self) -> None:
        for seed in SEEDS:
            place: dict[Submission, tuple[int, int]] = {}
            for number, launch in enumerate(self._load(seed).device.launches):
                for batch_number, batch in enumerate(launch.batches):
                    place |= dict.fromkeys(batch, (number, batch_number))
            commands = sorted(place, key=lambda command: command.seq)
            for later, command in enumerate(commands):
                for earlier in commands[:later]:
                    if _conflict(earlier, command):
                        assert place[earlier] < place[command]

    @quick
    def test_asking_takes_nothing_from_the_backlog(self) -> None:
        policy = _Watched(self.make())
        _play(make_trial(cast(DispatchPolicy, policy)), 0, [])
        assert policy.asked and policy.changed == 0

    def test_a_flood_of_commands_does_not_keep_the_device_idle(self) -> None:
        trial = make_trial(self.make(), embeds=4096)
        space = trial.layer.open("a", "user")
        queue = space.create_queue()

        def flood() -> None:
            space.call("trial_note", queue, [space.allocate(Embed, 1)])
            if not trial.device.launches and space.holds(Embed) < 4096:
                trial.loop.soon(flood)

        flood()
        while trial.loop.step():
            trial.loop.tick(FLOOD_S)
        assert space.holds(Embed) < 4096, "nothing was launched while commands kept coming"

    def test_equal_input_gives_equal_waves(self) -> None:
        for seed in SEEDS:
            assert _shape(self._load(seed)) == _shape(self._load(seed))

    def _load(self, seed: int, tickets: list[Ticket] | None = None) -> Trial:
        trial = make_trial(self.make())
        _play(trial, seed, [] if tickets is None else tickets)
        return trial


class _Watched:
    """A policy, and whether asking it changed the backlog."""

    def __init__(self, policy: DispatchPolicy) -> None:
        self.name = policy.name
        self.asked = self.changed = 0
        self._policy = policy

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._policy, attribute)

    def due(self, backlog: Backlog, **state: Any) -> bool | float:
        sizes = {kind: backlog.size(kind) for kind in backlog.kinds()}
        answer = self._policy.due(backlog, **state)
        self.asked += 1
        self.changed += sizes != {kind: backlog.size(kind) for kind in backlog.kinds()}
        return answer


def _play(trial: Trial, seed: int, tickets: list[Ticket]) -> None:
    """Six inferlets, each a chain of steps with pauses of its own, two of them sharing nothing but the device."""
    chance = random.Random(seed)
    for number in range(6):
        trial.loop.later(
            chance.choice([0.0, 0.003, 0.02]), _Actor(trial, f"p{number}", chance.randrange(1 << 30), tickets)
        )
    trial.loop.finish()


class _Actor:
    """One inferlet: a step writes Embeds and adds to a page; the next one comes when it is done, or some time later."""

    def __init__(self, trial: Trial, name: str, seed: int, tickets: list[Ticket]) -> None:
        self._trial, self._tickets = trial, tickets
        self._chance = random.Random(seed)
        self._space = trial.layer.open(name, "user")
        self._queues = [self._space.create_queue() for _ in range(2)]
        self._embeds, self._pages = self._space.allocate(Embed, 4), self._space.allocate(KvPage, 3)
        self._left = STEPS

    def __call__(self) -> None:
        self._left -= 1
        chance, last = self._chance, None
        for _ in range(chance.randint(1, 3)):
            embeds, pages = chance.sample(self._embeds, 2), chance.sample(self._pages, 2)
            self._call("trial_note", [embeds])
            last = self._call("trial_work", [embeds[:1], pages[:1], pages[1:]])
        if self._left and last is not None:
            last.watch(lambda _: self._trial.loop.later(chance.choice([0.0, 0.0, 0.001, 0.05]), self))

    def _call(self, name: str, arguments: list[Any]) -> Ticket:
        ticket: Ticket = self._space.call(name, self._chance.choice(self._queues), arguments)
        self._tickets.append(ticket)
        return ticket


def _conflict(one: Submission, other: Submission) -> bool:
    writes, also = {id(record) for record in one.writes}, {id(record) for record in other.writes}
    touched = writes | {id(record) for record in one.reads}
    return bool(touched & also or writes & {id(record) for record in other.reads})


def _shape(trial: Trial) -> list[tuple[float, list[list[int]]]]:
    return [
        (launch.at, [[command.seq for command in batch] for batch in launch.batches])
        for launch in trial.device.launches
    ]
