"""What a user may use: counted for the user alone, refused with what, how much and until when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pie_core.application.accounts import Account, Accounts, Bucket
from pie_core.application.capabilities import Capabilities
from pie_core.application.program import Program
from pie_core.application.quotas import Quota, Quotas
from pie_core.errors import BusyError

WAIT = "\n    await asyncio.sleep(3600)"


class Clock:
    """Seconds, as a test says."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@given(st.integers(1, 30), st.lists(st.tuples(st.floats(0, 20), st.integers(1, 5)), max_size=60))
def test_in_no_stretch_of_time_are_more_admitted_than_a_full_bucket_and_what_flows_in(per_minute, arrivals):
    """Brute force over all pairs of moments: the definition of a token bucket, not how it is computed."""
    clock, admitted = Clock(), []
    account = Account("alice", Quota(requests_per_minute=per_minute), clock)
    for pause, asked in arrivals:
        clock.now += pause
        for _ in range(asked):
            try:
                account.admit_request()
                admitted.append(clock.now)
            except BusyError as error:
                before = clock.now
                clock.now += error.retry_after_s + 1e-6
                account.admit_request()  # when it says so it is true
                admitted.append(clock.now)
                assert clock.now - before <= 60 / per_minute + 1e-3
    for first, start in enumerate(admitted):
        for last, end in enumerate(admitted[first:], first):
            assert last - first + 1 <= per_minute + (end - start) * per_minute / 60 + 1e-6


def test_a_refused_request_does_not_count_and_says_what_and_until_when():
    clock = Clock()
    account = Account("alice", Quota(requests_per_minute=2), clock)
    account.admit_request()
    account.admit_request()
    for _ in range(5):
        with pytest.raises(
            BusyError, match=r"user 'alice' .* 2 per minute \(quota `requests_per_minute`\); try again in 30.0 s"
        ):
            account.admit_request()
    clock.now += 30
    account.admit_request()


def test_a_rate_below_one_a_minute_lets_one_through_in_its_time():
    clock = Clock()
    account = Account("alice", Quota(requests_per_minute=0.5), clock)
    account.admit_request()
    with pytest.raises(BusyError) as caught:
        account.admit_request()
    assert caught.value.retry_after_s == pytest.approx(120)


def test_a_bucket_may_be_overdrawn_and_the_debt_is_paid_first():
    clock = Clock()
    bucket = Bucket(60, 0.02, clock)
    bucket.take(61.0)
    assert bucket.wait_s() == pytest.approx(1.02)
    clock.now += 1.02
    assert bucket.wait_s() == pytest.approx(0, abs=1e-6)
    clock.now += 3600
    assert bucket.level == 60


def test_users_have_buckets_of_their_own_that_are_not_full_again_when_they_come_back():
    clock = Clock()
    accounts = Accounts(Quotas(Quota(requests_per_minute=1), {"bob": Quota(requests_per_minute=3)}), clock)
    accounts.of("alice").admit_request()
    with pytest.raises(BusyError):
        accounts.of("alice").admit_request()
    for _ in range(3):
        accounts.of("bob").admit_request()
    accounts.of("carol").admit_request()


def test_who_has_computed_too_much_launches_nothing_until_it_says_so():
    clock = Clock()
    account = Account("alice", Quota(cpu_s_per_minute=6), clock)
    account.check_launch()
    account.compute(6.98)
    with pytest.raises(
        BusyError, match=r"all of the 6 s .* \(quota `cpu_s_per_minute`\); try again in 10.0 s"
    ) as caught:
        account.check_launch()
    clock.now += caught.value.retry_after_s + 1e-6
    account.check_launch()


def test_a_child_counts_and_its_parent_is_told_when_it_may_not_be(scene):
    source = """
# /// inferlet
# spawn = true
# ///
from inferlet import *
async def main():
    try:
        await spawn("child", source="async def main(): pass").join()
    except BusyError as error:
        return str(error)
"""

    async def play(server):
        inferlet = await server.application.launch(Program("parent", source, "parent.py"), user="alice")
        return (await server.ended(inferlet)).value

    assert "of 1 allowed at a time" in scene(
        play, quotas=Quotas(Quota(inferlets=1)), capabilities=Capabilities(spawn=True)
    )


def test_inferlets_of_a_user_are_bounded_those_in_line_and_children_included(scene):
    async def play(server):
        two = [await server.launch("async def main():" + WAIT, user="alice") for _ in range(2)]
        with pytest.raises(
            BusyError, match=r"user 'alice' has 2 inferlets, of 2 allowed at a time \(quota `inferlets`\)"
        ):
            await server.launch("async def main(): pass", user="alice")
        assert (await server.ended(await server.launch("async def main(): pass", user="bob"))).status == "finished"
        server.application.stop(two[0], "over")
        assert (await server.ended(await server.launch("async def main(): pass", user="alice"))).status == "finished"
        server.application.stop(two[1], "over")

    scene(play, quotas=Quotas(Quota(inferlets=2)))


def test_a_program_over_its_users_quota_of_pages_can_catch_it_and_go_on(scene):
    source = """
async def main():
    q = get_auto_model().create_queue()
    pages = alloc_kvpage(q, 3)
    send("there")
    await receive()
    try:
        alloc_kvpage(q, 3)
    except BusyError as error:
        return str(error)
"""

    async def play(server):
        inferlets = [await server.launch(source, user="alice") for _ in range(2)]
        for inferlet in inferlets:
            await server.message(inferlet)
            inferlet.deliver("go on")
        first, second = [await server.ended(inferlet) for inferlet in inferlets]
        assert second.status == "finished"
        return first.value

    assert "quota `kvpages`" in scene(play, quotas=Quotas(Quota(kvpages=6)))
