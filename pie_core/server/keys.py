"""The file of keys: who may use a server, and as which user.

A key is `pie-ID-SECRET`; the secret is 256 bits of the system's randomness. The file has the SHA-256 of whole keys. A
slow hash (argon2, scrypt) is for secrets that people make up, and that can thus be guessed; nobody guesses 256 bits,
however fast the hash is, and a slow one would cost each request 100 ms of the server's time.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from pie_core.errors import AuthenticationError, ConfigError, nearest

FILE = "keys.json"
PREFIX = "pie-"
_VERSION = 1
_USER = "[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}"
_LONGEST_NOTE = 1000

Now = Callable[[], datetime]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key, without its secret. An operator may see and stop everybody's inferlets, and read metrics."""

    id: str
    user: Annotated[str, msgspec.Meta(pattern=f"^{_USER}$")]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]  # of the key
    created: Moment
    expires: Moment | None = None
    operator: bool = False
    note: str = ""


class _Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    keys: list[Key]


class KeyFile:
    """Reads and changes one; other processes may do the same at the same time. Raises `ConfigError`."""

    def __init__(self, path: Path, now: Now = lambda: datetime.now(UTC)) -> None:
        self.path = path
        self._now = now

    def read(self) -> Sequence[Key]:
        """The keys, oldest first; none if there is no file."""
        try:
            with self.path.open("rb") as file:
                mode, text = os.fstat(file.fileno()).st_mode, file.read()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise ConfigError(f"the keys in {self.path} cannot be read: {error.strerror}") from error
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigError(f"others may write to {self.path}, and so make keys; `chmod 600` it and look at its keys")
        return self._parse(text)

    def add(
        self, user: str, note: str = "", expires: datetime | None = None, operator: bool = False
    ) -> tuple[Key, str]:
        """A new key, and its text, which is kept nowhere."""
        if not re.fullmatch(_USER, user):
            raise ConfigError(
                f"{user!r:.80} cannot be a user's name: 1 to 64 letters, digits and . _ @ + - of ASCII, the first "
                "one a letter or digit"
            )
        if len(note) > _LONGEST_NOTE:
            raise ConfigError(f"a note of {len(note)} characters; {_LONGEST_NOTE} are allowed")
        now = self._now().replace(microsecond=0)
        if expires is not None and expires <= now:
            raise ConfigError(f"the key would have expired already, at {expires:%Y-%m-%d %H:%M:%S %Z}")
        with self._changing():
            keys = self.read()
            taken = {key.id for key in keys}
            chosen = next(one for one in iter(lambda: secrets.token_hex(4), "") if one not in taken)
            text = f"{PREFIX}{chosen}-{secrets.token_urlsafe(32)}"
            key = Key(chosen, user, _digest(text), now, expires, operator, note)
            self._write([*keys, key])
        return key, text

    def remove(self, key_id: str) -> Key:
        """Forget a key. A file without keys stays: nobody is let in then."""
        with self._changing():
            keys = {key.id: key for key in self.read()}
            if key_id not in keys:
                raise ConfigError(f"no key in {self.path} has the id {key_id!r:.80}{nearest(key_id, keys)}")
            removed = keys.pop(key_id)
            self._write(list(keys.values()))
        return removed

    def _parse(self, text: bytes) -> Sequence[Key]:
        try:
            contents = msgspec.json.decode(text, type=_Contents)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{self.path} is no file of keys: {error}; restore it, or remove it and add keys"
            ) from error
        if contents.version != _VERSION:
            raise ConfigError(f"{self.path} has version {contents.version}, this pie-core knows {_VERSION}")
        return tuple(contents.keys)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One process at a time, so that no change is lost."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self.path.with_name(f"{self.path.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise ConfigError(f"the keys in {self.path} cannot be changed: {error.strerror}") from error

    def _write(self, keys: list[Key]) -> None:
        """All or nothing; readable by its owner only."""
        text = msgspec.json.format(msgspec.json.encode(_Contents(_VERSION, keys))) + b"\n"
        target = self.path.resolve()
        number, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # with mode 0600
        try:
            with os.fdopen(number, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink()
            raise


class Keyring:
    """The keys as a server uses them. It looks at the file when it is asked, and reads it again if it has changed.

    Once there was a file keys are needed, for as long as the server runs, even if the file goes away. What cannot be
    read lets nobody in.
    """

    def __init__(self, file: KeyFile, now: Now = lambda: datetime.now(UTC)) -> None:
        """Raises `ConfigError` for a file that cannot be used."""
        self._file = file
        self._now = now
        self._seen: tuple[int, ...] | UnsetType | None = UNSET
        self._keys: dict[str, Key] = {}
        self.needed = False
        self.refresh()

    def refresh(self) -> None:
        """Read the file, if it is another one than before. Raises `ConfigError`."""
        found = self._look()
        if found == self._seen:
            return
        self._keys = {}
        self.needed = self.needed or found is not None
        self._keys = {key.id: key for key in self._file.read()}
        self._seen = found

    def find(self, text: str) -> Key:
        """Whose key this is. Raises `AuthenticationError`, `ConfigError`."""
        self.refresh()
        key = self._keys.get(text.removeprefix(PREFIX).partition("-")[0])  # ids are no secret
        if key is None or not hmac.compare_digest(_digest(text), key.sha256):
            raise AuthenticationError("the server does not know this key; it may have been removed")
        if key.expires is not None and key.expires <= self._now():
            raise AuthenticationError(f"the key {key.id} has expired at {key.expires:%Y-%m-%d %H:%M:%S %Z}")
        return key

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = self._file.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"the keys in {self._file.path} cannot be read: {error.strerror}") from error
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
