"""Published pages: names in each user's namespace that outlive the inferlet which exported them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pie_core.errors import ArgumentError, HandleError, ResourceError, nearest
from pie_core.resource import KvPage


@dataclass(frozen=True)
class Export:
    """One published list of pages. Times are seconds on the control layer's clock."""

    name: str
    owner: str  # id of the inferlet that exported it
    pages: tuple[KvPage, ...]
    exported_at: float
    expires_at: float | None


_LONGEST_NAME = 256  # characters


@dataclass(frozen=True)
class ExportLimits:
    """What one user may have published at a time: it outlives the inferlets, and no page need be behind a name."""

    names: int = 1024
    pages: int = 65536  # listed under all of them


class Exports:
    """All users' exports. The control layer counts the references; this keeps the names."""

    def __init__(self) -> None:
        self._by_user: dict[str, dict[str, Export]] = {}
        self._pages: dict[str, int] = {}  # listed, by user

    def publish(self, user: str, export: Export, limits: ExportLimits) -> None:
        """Enter a name; it must be new in the user's namespace. Raises `ResourceError` past the limits."""
        if len(export.name) > _LONGEST_NAME:
            raise ArgumentError(
                f"export_kvpage: a name of {len(export.name)} characters is over the {_LONGEST_NAME} allowed"
            )
        names, listed = self._by_user.get(user, {}), self._pages.get(user, 0) + len(export.pages)
        if export.name in names:
            raise ArgumentError(f"export_kvpage: {export.name!r} exists already; release_kvpage it first")
        if len(names) >= limits.names or listed > limits.pages:
            there = f"{len(names)} names of {self._pages.get(user, 0)} pages"
            raise ResourceError(
                f"export_kvpage: user {user!r} has published {there}, and may publish {limits.names} of "
                f"{limits.pages}; release_kvpage some, or export with a ttl"
            )
        self._by_user.setdefault(user, {})[export.name] = export
        self._pages[user] = listed

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
        self._pages[user] -= len(export.pages)
        if not self._by_user[user]:
            del self._by_user[user], self._pages[user]
        return export

    def __iter__(self) -> Iterator[tuple[str, Export]]:
        for user, exports in self._by_user.items():
            for export in exports.values():
                yield user, export

    def of(self, user: str) -> list[Export]:
        """A user's exports, oldest first."""
        return list(self._by_user.get(user, {}).values())

    def expired(self, now: float) -> Iterator[tuple[str, str]]:
        """(user, name) of those whose time is over."""
        for user, names in self._by_user.items():
            for export in names.values():
                if export.expires_at is not None and export.expires_at <= now:
                    yield user, export.name
