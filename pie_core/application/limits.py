"""What one inferlet, and all of them together, may use. Defaults suit a small server; every field is a setting."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from pie_core.errors import ArgumentError, nearest

Count = Annotated[int, msgspec.Meta(ge=0)]
Some = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds; a program that meets one gets an error that names it.

    max_inferlets: inferlets that clients launched and that run at once; further ones wait in line.
    line_launches: launches that wait in line; further ones are refused.
    line_bytes: what programs, arguments and blobs of launches that wait may weigh together.
    max_children: children of all inferlets, running at once; they never wait in line.
    wall_s: seconds that an inferlet runs; waiting in line is not counted.
    kvpages: pages that one inferlet may hold; none: the whole pool.
    embeds: Embeds that one inferlet may hold; none: the whole pool.
    exported_names: names that one user may have published in one model.
    exported_pages: pages listed under those names.
    inbox_messages: messages to an inferlet that it has not received yet.
    outbox_messages: events of an inferlet that its client has not read yet.
    waiting_bytes: what the messages of each kind that wait may weigh together.
    message_bytes: one message, blob, argument list or result.
    program_bytes: the source text of a program; to check so much takes a second, in a child.
    component_bytes: a program that is a component; a Python one has some 23 MiB.
    http_requests: requests of one inferlet over the network under way at once.
    http_bytes: the body of one answer to them; a MiB costs a sandboxed program 0.1 s of computing.
    http_s: seconds from a request to the end of its answer, redirects included.
    subscriptions: topics that one inferlet listens to.
    mail_messages: texts of one subscription or child that were not read yet.
    mail_bytes: what these may weigh together.
    descendants: children, and theirs, of one inferlet that a client launched, running at once.
    spawn_depth: how deep children of children go.
    store_keys: keys that one user keeps in the store.
    store_bytes: what keys and values of one user weigh together.
    cpu_s: seconds that a sandboxed program may compute; waiting is not counted.
    memory_bytes: each memory of a sandboxed program; most have one, Python needs 23 MiB.
    table_elements: elements of a sandboxed program's function tables.
    """

    max_inferlets: Some = 4096
    line_launches: Count = 8192
    line_bytes: Count = 256 << 20
    max_children: Count = 4096
    wall_s: Seconds = 3600.0
    kvpages: Count | None = None
    embeds: Count | None = None
    exported_names: Count = 1024
    exported_pages: Count = 65536
    inbox_messages: Count = 1024
    outbox_messages: Count = 65536
    waiting_bytes: Count = 64 << 20
    message_bytes: Count = 8 << 20
    program_bytes: Count = 256 << 10
    component_bytes: Count = 64 << 20
    http_requests: Count = 8
    http_bytes: Count = 1 << 20
    http_s: Seconds = 30.0
    subscriptions: Count = 64
    mail_messages: Count = 1024
    mail_bytes: Count = 1 << 20
    descendants: Count = 32
    spawn_depth: Count = 4
    store_keys: Count = 10_000
    store_bytes: Count = 64 << 20
    cpu_s: Seconds = 60.0
    memory_bytes: Count = 128 << 20
    table_elements: Count = 100_000


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
        if value is None:
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
