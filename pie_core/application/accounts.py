"""What each user uses at the moment, of what the quotas allow. Pages and Embeds are counted by the control layer."""

from __future__ import annotations

from collections.abc import Callable

from pie_core.application.quotas import Quota, Quotas
from pie_core.errors import BusyError

MINUTE_S = 60.0
_STRETCH_S = 0.02  # of computing that must be allowed before a program that was held back goes on


class Bucket:
    """A token bucket (Turner, 1986): it is full at first, refills steadily, and may be overdrawn.

    per_minute: what flows in, and what it holds. unit: what is asked for at a time; it holds as much at least.
    now: seconds.
    """

    def __init__(self, per_minute: float, unit: float, now: Callable[[], float]) -> None:
        self.per_minute = per_minute
        self._unit = unit
        self._holds = max(per_minute, unit)
        self._now = now
        self._level = self._holds
        self._at = now()

    @property
    def level(self) -> float:
        """What is there; negative if it was overdrawn."""
        now = self._now()
        self._level = min(self._holds, self._level + (now - self._at) * self.per_minute / MINUTE_S)
        self._at = now
        return self._level

    def wait_s(self) -> float:
        """Seconds until a unit is there; 0 if it is."""
        return max(0.0, (self._unit - self.level) * MINUTE_S / self.per_minute)

    def take(self, amount: float) -> None:
        """Take something out, whether it is there or not."""
        self._level = self.level - amount


class Account:
    """Of one user. Control thread only."""

    def __init__(self, user: str, quota: Quota, now: Callable[[], float]) -> None:
        self.user = user
        self.quota = quota
        self.inferlets = 0  # that run or wait in line, children included
        requests, cpu_s = quota.requests_per_minute, quota.cpu_s_per_minute
        self._requests = None if requests is None else Bucket(requests, 1.0, now)
        self._computing = None if cpu_s is None else Bucket(cpu_s, _STRETCH_S, now)

    def admit_request(self) -> None:
        """Count a request. Raises `BusyError` if it is one too many; then it does not count."""
        bucket = self._requests
        if bucket is None:
            return
        wait_s = bucket.wait_s()
        if wait_s:
            raise BusyError(
                f"user {self.user!r} has made all requests that are allowed, {bucket.per_minute:g} per minute (quota "
                f"`requests_per_minute`); try again in {wait_s:.1f} s",
                wait_s,
            )
        bucket.take(1.0)

    def check_launch(self) -> None:
        """Raise `BusyError` if the user may not have one more inferlet now."""
        most = self.quota.inferlets
        if most is not None and self.inferlets >= most:
            raise BusyError(
                f"user {self.user!r} has {self.inferlets} inferlets, of {most} allowed at a time (quota `inferlets`); "
                "try again when one has ended"
            )
        wait_s = self.rest_s()
        if wait_s:
            raise BusyError(
                f"user {self.user!r} has computed for all of the {self.quota.cpu_s_per_minute:g} s that are allowed "
                f"per minute (quota `cpu_s_per_minute`); try again in {wait_s:.1f} s",
                wait_s,
            )

    def compute(self, seconds: float) -> None:
        """A program has computed for so long."""
        if self._computing is not None:
            self._computing.take(seconds)

    def rest_s(self) -> float:
        """Seconds for which the user's programs may not compute."""
        return 0.0 if self._computing is None else self._computing.wait_s()


class Accounts:
    """By user; one is opened when a user is first seen, and kept, for its buckets must not be full again."""

    def __init__(self, quotas: Quotas, now: Callable[[], float]) -> None:
        self._quotas = quotas
        self._now = now
        self._accounts: dict[str, Account] = {}

    def of(self, user: str) -> Account:
        """The user's account."""
        if user not in self._accounts:
            self._accounts[user] = Account(user, self._quotas.of(user), self._now)
        return self._accounts[user]
