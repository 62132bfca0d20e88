"""Calls: texts that are kept by key, for all programs of the user, across restarts of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pie_core.application.calls.base import MaybeText, RuntimeCall
from pie_core.application.store.database import Database, Quota
from pie_core.application.store.store import Access
from pie_core.control.ticket import Ticket
from pie_core.errors import ArgumentError, ResourceError

if TYPE_CHECKING:
    from pie_core.application.host import Host

LONGEST_KEY = 512  # bytes
MOST_PENDING = 256  # accesses of one inferlet that are not done


class StoreGet(RuntimeCall):
    """The text kept under a key, if there is one.

    The accesses of all programs are done one after the other, in the order in which they were asked for.

    ArgumentError: a key that is empty or over 512 bytes.
    ResourceError: 256 accesses that are not done, or too many bytes in them.
    """

    future = True
    returns = MaybeText
    key: str

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        user, key = host.inferlet.user, _checked(self.key)
        return _access(host, lambda database: MaybeText(database.get(user, key)))


class StoreSet(RuntimeCall):
    """Keep a text under a key, for all programs of the user; it survives the server.

    ArgumentError: a key that is empty or over 512 bytes; not a text, or over `message_bytes`.
    ResourceError: 256 accesses that are not done, or too many bytes in them; over the user's quota of keys or bytes,
        and the old text stays.
    """

    future = True
    key: str
    value: str

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        inferlet, key, value = host.inferlet, _checked(self.key), self.value
        inferlet.check_size(value)
        quota = Quota(inferlet.limits.store_keys, inferlet.limits.store_bytes)
        return _access(host, lambda database: database.set(inferlet.user, key, value, quota), len(value))


class StoreDelete(RuntimeCall):
    """Forget the text under a key; whether there was one.

    ArgumentError: a key that is empty or over 512 bytes.
    ResourceError: 256 accesses that are not done, or too many bytes in them.
    """

    future = True
    returns = bool
    key: str

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        user, key = host.inferlet.user, _checked(self.key)
        return _access(host, lambda database: database.delete(user, key))


class StoreExists(RuntimeCall):
    """Whether a text is kept under a key.

    ArgumentError: a key that is empty or over 512 bytes.
    ResourceError: 256 accesses that are not done, or too many bytes in them.
    """

    future = True
    returns = bool
    key: str

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        user, key = host.inferlet.user, _checked(self.key)
        return _access(host, lambda database: database.exists(user, key))


class StoreListKeys(RuntimeCall):
    """The keys of the user, sorted.

    ResourceError: 256 accesses that are not done.
    """

    future = True
    returns = list[str]

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        user = host.inferlet.user

        def keys(database: Database) -> list[str]:
            return database.keys(user)

        return _access(host, keys)


def _checked(key: str) -> str:
    size = len(key.encode())
    if not 0 < size <= LONGEST_KEY:
        raise ArgumentError(f"the store: a key of {size} bytes; 1 to {LONGEST_KEY} are allowed")
    return key


def _access(host: Host, access: Access, weight: int = 0) -> Ticket:
    most = host.inferlet.limits.waiting_bytes
    if len(host.accesses) >= MOST_PENDING or weight + sum(host.accesses.values()) > most:
        raise ResourceError(
            f"the store: {len(host.accesses)} accesses are not done; {MOST_PENDING} are allowed, with {most} bytes; "
            "await one first"
        )
    ticket = host.services.store.access(access)
    host.accesses[ticket] = weight
    ticket.watch(host.access_done)
    return ticket


CALLS = (StoreGet, StoreSet, StoreDelete, StoreExists, StoreListKeys)
