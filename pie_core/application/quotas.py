"""What all inferlets of one user together may use. `Limits` bound one inferlet, and the server; these bound a user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from pie_core.application.limits import Count
from pie_core.resource import Embed, KvPage, Resource

PerMinute = Annotated[float, msgspec.Meta(gt=0)]


class Quota(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one user. None: bounded by nothing but the server itself."""

    kvpages: Count | None = None  # held at a time in one model, by all inferlets and exports; a shared page is one
    embeds: Count | None = None  # held at a time in one model, by all inferlets
    inferlets: Count | None = None  # that run or wait in line at a time, children included
    requests_per_minute: PerMinute | None = None  # of clients; a minute's worth may come at once
    cpu_s_per_minute: PerMinute | None = None  # seconds that sandboxed programs may compute; likewise


@dataclass(frozen=True)
class Quotas:
    """`everyone`: of each user without one in `users`."""

    everyone: Quota = field(default_factory=Quota)
    users: Mapping[str, Quota] = field(default_factory=dict)

    def of(self, user: str) -> Quota:
        """What this user may use."""
        return self.users.get(user, self.everyone)


def holding(kvpages: int | None, embeds: int | None) -> dict[type[Resource], int]:
    """Bounds of what may be held, as the control layer takes them."""
    bounds: dict[type[Resource], int | None] = {KvPage: kvpages, Embed: embeds}
    return {kind: most for kind, most in bounds.items() if most is not None}
