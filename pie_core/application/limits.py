"""What one inferlet, and all of them together, may use. Defaults suit a small server; every field is a setting."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pie_core.errors import ArgumentError, nearest


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds; a program that meets one gets an error that names it."""

    max_inferlets: int = 4096  # launched by clients and running at once; further ones wait in line
    line_launches: int = 8192  # that wait in line; further ones are refused
    line_bytes: int = 256 << 20  # programs, arguments and blobs of launches that wait
    max_children: int = 4096  # of all inferlets, running at once; they never wait in line
    wall_s: float = 3600.0  # seconds from launch to end
    kvpages: int | None = None  # pages one inferlet may hold; None: the whole pool
    embeds: int | None = None  # Embeds one inferlet may hold; None: the whole pool
    exported_names: int = 1024  # that one user may have published in one model
    exported_pages: int = 65536  # listed under those names
    inbox_messages: int = 1024  # messages to an inferlet that it has not received yet
    outbox_messages: int = 65536  # messages from an inferlet that its client has not read yet
    waiting_bytes: int = 64 << 20  # what the messages of each kind that wait may weigh together
    message_bytes: int = 8 << 20  # one message, blob, argument list or result
    program_bytes: int = 256 << 10  # source text of a program; to check so much takes a second, in a child
    component_bytes: int = 64 << 20  # a program that is a component; a Python one has some 23 MiB
    http_requests: int = 8  # of one inferlet at once
    http_bytes: int = 1 << 20  # the body of one answer; a MiB costs a sandboxed program 0.1 s of computing
    http_s: float = 30.0  # seconds from a request to the end of its answer, redirects included
    subscriptions: int = 64  # of one inferlet, to topics
    mail_messages: int = 1024  # of one subscription or child, that were not read yet
    mail_bytes: int = 1 << 20  # what these may weigh together
    descendants: int = 32  # running at once, of one inferlet that a client launched
    spawn_depth: int = 4  # of a child's child's child
    store_keys: int = 10_000  # of one user
    store_bytes: int = 64 << 20  # keys and values of one user
    cpu_s: float = 60.0  # seconds that a sandboxed program may compute, waiting not counted
    memory_bytes: int = 128 << 20  # each memory of a sandboxed program; most have one, Python needs 23 MiB
    table_elements: int = 100_000  # of a sandboxed program's function tables


KEPT_BY_THE_SANDBOX = frozenset({"cpu_s", "memory_bytes", "table_elements"})
_OF_THE_SERVER = frozenset({"max_inferlets", "line_launches", "line_bytes", "max_children"})


def tighten(limits: Limits, given: Iterable[str], where: str) -> Limits:
    """`limits`, some of them lower: `given` as `NAME=VALUE`. Raises `ArgumentError`, that says `where`.

    A limit is never raised, and what counts all inferlets is the server's.
    """
    texts = dict(_pair(text, where) for text in given)
    try:
        lower = msgspec.convert(texts, Limits, strict=False)
    except msgspec.ValidationError as error:
        raise ArgumentError(f"{where}: limits: {error}") from None
    for name in texts:
        value, most = getattr(lower, name), getattr(limits, name)
        if value is None or not value >= 0:
            raise ArgumentError(f"{where}: limit `{name}`: expected a number of at least 0, got {texts[name]!r:.60}")
        if most is not None and value > most:
            raise ArgumentError(f"{where}: limit `{name}`: {value:g} is over the {most:g} of this program itself")
    return msgspec.structs.replace(limits, **{name: getattr(lower, name) for name in texts})


def _pair(text: str, where: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    known = set(Limits.__struct_fields__) - _OF_THE_SERVER
    if not equals:
        raise ArgumentError(f"{where}: limits: write NAME=VALUE, not {text!r:.60}")
    if name not in known:
        raise ArgumentError(f"{where}: there is no limit {name!r:.60}{nearest(name, known)}")
    return name, value
