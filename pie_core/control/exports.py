"""Published pages: names in each user's namespace that outlive the inferlet which exported them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pie_core.errors import ArgumentError, HandleError, nearest
from pie_core.resource import KvPage


@dataclass(frozen=True)
class Export:
    """One published list of pages. Times are seconds on the control layer's clock."""

    name: str
    owner: str  # id of the inferlet that exported it
    pages: tuple[KvPage, ...]
    exported_at: float
    expires_at: float | None


class Exports:
    """All users' exports. The control layer counts the references; this keeps the names."""

    def __init__(self) -> None:
        self._by_user: dict[str, dict[str, Export]] = {}

    def publish(self, user: str, export: Export) -> None:
        """Enter a name; it must be new in the user's namespace."""
        names = self._by_user.setdefault(user, {})
        if export.name in names:
            raise ArgumentError(f"export_kvpage: {export.name!r} exists already; release_kvpage it first")
        names[export.name] = export

    def find(self, user: str, name: str, where: str) -> Export:
        """Look a name up; an unknown one is an error that names the near ones, and the call (`where`)."""
        names = self._by_user.get(user, {})
        if name not in names:
            raise HandleError(f"{where}: no exported pages are named {name!r}{nearest(name, names)}")
        return names[name]

    def withdraw(self, user: str, name: str) -> Export:
        """Remove a name."""
        export = self.find(user, name, "release_kvpage")
        del self._by_user[user][name]
        return export

    def of(self, user: str) -> list[Export]:
        """A user's exports, oldest first."""
        return list(self._by_user.get(user, {}).values())

    def expired(self, now: float) -> Iterator[tuple[str, str]]:
        """(user, name) of those whose time is over."""
        for user, names in self._by_user.items():
            for export in names.values():
                if export.expires_at is not None and export.expires_at <= now:
                    yield user, export.name
