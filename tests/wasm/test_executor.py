"""Who runs when: what decides is a guest's computing, not the clock."""

from __future__ import annotations

import asyncio
from types import MappingProxyType, SimpleNamespace

import pytest

from pie_core.application.accounts import Account
from pie_core.application.quotas import Quota
from pie_core.application.wasm import executor as executor_module
from pie_core.application.wasm.executor import Executor


class FakeGuest:
    """Computes for `slices` seconds, each until the epoch brings it back; then it ends."""

    def __init__(self, name, slices, ran, clock, account=None):
        self.name, self.slices, self.ran, self.clock = name, list(slices), ran, clock
        self.limits = SimpleNamespace(cpu_s=60.0)
        self.account = account or Account("local", Quota(), lambda: 0.0)
        self.suspension = self.resumed = None
        self.cpu_s = 0.0

    def poll(self):
        self.ran.append(self.name)
        self.clock[0] += self.slices.pop(0)
        return not self.slices

    def result(self):
        return self.name


@pytest.fixture
def order(monkeypatch):
    """Run guests with these slices, woken one after the other; who ran, in order."""
    clock, ran = [0.0], []
    monkeypatch.setattr(executor_module, "time", SimpleNamespace(**vars(executor_module.time)))
    monkeypatch.setattr(executor_module.time, "thread_time", lambda: clock[0])

    async def run(guests):
        executor = Executor(SimpleNamespace(increment_epoch=lambda: None))
        try:
            return await asyncio.gather(*(executor.run(guest) for guest in guests))
        finally:
            executor.close()

    def started(accounts=MappingProxyType({}), **slices):
        guests = [FakeGuest(name, costs, ran, clock, accounts.get(name)) for name, costs in slices.items()]
        assert asyncio.run(run(guests)) == list(slices)
        return "".join(ran)

    return started


def test_a_guest_that_lost_its_slice_to_a_busy_machine_goes_on_at_once(order):
    assert order(a=[0.001, 0.001, 0.001], b=[0.001]) == "aaab"


def test_a_guest_that_computes_gives_way_to_those_who_have_not_had_their_say(order):
    assert order(a=[0.003, 0.003, 0.003, 0.003], b=[0.001]) == "aabaa"


class Advancing(Account):
    """Of somebody without a quota, who lets a minute pass on a clock when all of it is done."""

    def __init__(self, clock, slices):
        super().__init__("other", Quota(), lambda: 0.0)
        self.clock, self.slices = clock, slices

    def compute(self, seconds):
        self.slices -= 1
        if not self.slices:
            self.clock[0] += 60.0


def test_guests_of_a_user_over_the_quota_rest_until_it_allows_more_and_others_go_on(order):
    """The quota's clock stands until the others are done, so that the order is the same on any machine."""
    clock = [0.0]
    greedy = Account("greedy", Quota(cpu_s_per_minute=60), lambda: clock[0])
    greedy.compute(59.98)  # the rest is for one stretch
    accounts = {"a": greedy, "b": greedy, "c": Advancing(clock, 5)}
    ran = order(accounts, a=[0.003] * 3, b=[0.003] * 3, c=[0.001] * 5)
    assert ran[:7] == "aaccccc"
    assert sorted(ran[7:]) == list("abbb")
