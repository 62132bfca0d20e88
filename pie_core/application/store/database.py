"""The file: one SQLite database in write-ahead mode, so that several servers can share it. Blocking; one thread.

A power failure may take the last writes with it; the end of a process does not.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pie_core.errors import ConfigError, PieError, ResourceError

FILE = "store.sqlite3"
_APPLICATION = 0x50494553  # "PIES", in the header of the file
_VERSION = 1
_BUSY_S = 10.0  # that another server may take for its write
_RETRY_S = 0.01  # between attempts at what SQLite does not wait for by itself
_CREATE = """
CREATE TABLE entry (
    user TEXT NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL, value TEXT NOT NULL, PRIMARY KEY (user, key)
);
CREATE TABLE usage (user TEXT PRIMARY KEY, keys INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Quota:
    """What one user may keep: keys, and bytes of keys and values together."""

    keys: int
    bytes: int


class Database:
    """Raises `ConfigError` for a file that cannot be used, `PieError` if a later access fails."""

    def __init__(self, path: Path | None) -> None:
        """path: None is a database in memory."""
        self._where = "the store" if path is None else f"the store {path}"
        try:
            if path is not None:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.touch(mode=0o600)
            self._connection = sqlite3.connect(
                ":memory:" if path is None else path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"{self._where} cannot be opened: {error}; name another place with --state-dir"
            ) from error
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def get(self, user: str, key: str) -> str | None:
        """The value, if there is one."""
        with self._access():
            row = self._connection.execute("SELECT value FROM entry WHERE user = ? AND key = ?", (user, key)).fetchone()
        return None if row is None else str(row[0])

    def set(self, user: str, key: str, value: str, quota: Quota) -> None:
        """Keep a value. Raises `ResourceError` if it is over the quota; the old one stays then."""
        added = len(key.encode()) + len(value.encode())
        with self._access(write=True):
            keys, used = self._usage(user)
            old = self._size_of(user, key)
            keys, used = keys + (old is None), used + added - (old or 0)
            if keys > quota.keys and old is None:
                raise ResourceError(
                    f"the store: user {user!r} keeps {quota.keys} keys, all that is allowed (limit `store_keys`)"
                )
            if used > quota.bytes and added > (old or 0):
                raise ResourceError(
                    f"the store: with {key!r:.60} user {user!r} would keep {used} bytes, of {quota.bytes} allowed "
                    "(limit `store_bytes`); delete something"
                )
            self._connection.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?)", (user, key, added, value))
            self._connection.execute("INSERT OR REPLACE INTO usage VALUES (?, ?, ?)", (user, keys, used))

    def delete(self, user: str, key: str) -> bool:
        """Forget a value; whether there was one."""
        with self._access(write=True):
            old = self._size_of(user, key)
            if old is None:
                return False
            keys, used = self._usage(user)
            self._connection.execute("DELETE FROM entry WHERE user = ? AND key = ?", (user, key))
            self._connection.execute("INSERT OR REPLACE INTO usage VALUES (?, ?, ?)", (user, keys - 1, used - old))
        return True

    def exists(self, user: str, key: str) -> bool:
        """Whether there is a value."""
        with self._access():
            query = "SELECT 1 FROM entry WHERE user = ? AND key = ?"
            return self._connection.execute(query, (user, key)).fetchone() is not None

    def keys(self, user: str) -> list[str]:
        """All keys of a user, sorted by code point."""
        with self._access():
            rows = self._connection.execute("SELECT key FROM entry WHERE user = ? ORDER BY key", (user,)).fetchall()
        return [row[0] for row in rows]

    def _usage(self, user: str) -> tuple[int, int]:
        row = self._connection.execute("SELECT keys, bytes FROM usage WHERE user = ?", (user,)).fetchone()
        return (0, 0) if row is None else (row[0], row[1])

    def _size_of(self, user: str, key: str) -> int | None:
        query = "SELECT size FROM entry WHERE user = ? AND key = ?"
        row = self._connection.execute(query, (user, key)).fetchone()
        return None if row is None else int(row[0])

    @contextmanager
    def _access(self, write: bool = False) -> Iterator[None]:
        """A write is a transaction: with an error nothing of it was done."""
        try:
            if not write:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise PieError(f"{self._where} cannot be used: {error}") from error

    def _prepare(self) -> None:
        try:
            self._write_ahead()
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("BEGIN IMMEDIATE")
            self._check_kind()
            self._connection.execute("COMMIT")
            found = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            raise ConfigError(self._busy() if _is_busy(error) else self._damaged(str(error))) from error
        if found != "ok":
            raise ConfigError(self._damaged(found))

    def _write_ahead(self) -> None:
        """Switch a new file to write-ahead mode.

        Of two that read it in its old mode neither can, so SQLite refuses one at once, whatever its timeout; the other
        is done in a moment.
        """
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(_RETRY_S)

    def _check_kind(self) -> None:
        """Make the tables in a new file; refuse one that is of something else, or of another version."""
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (application, version, tables) == (0, 0, 0):
            for statement in _CREATE.split(";"):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")
        elif application != _APPLICATION:
            raise ConfigError(f"{self._where} is a database of something else; name another place with --state-dir")
        elif version != _VERSION:
            raise ConfigError(
                f"{self._where} has version {version}, this pie-core knows {_VERSION}; use the pie-core that wrote it, "
                "or another --state-dir"
            )

    def _busy(self) -> str:
        return (
            f"{self._where} was locked by another process for more than {_BUSY_S:g} s; end what holds it, or name "
            "another place with --state-dir"
        )

    def _damaged(self, why: str) -> str:
        return (
            f"{self._where} cannot be read: {why}. It may be damaged: restore it from a backup, move it away to begin "
            "with an empty one, or name another place with --state-dir"
        )


def _is_busy(error: sqlite3.Error) -> bool:
    """Whether it fails only because somebody else is at work (the extended codes have it in their low byte)."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
