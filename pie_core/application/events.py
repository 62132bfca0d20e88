"""What a client learns from an inferlet, in order: messages, blobs, printed output, and at last how it ended."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["finished", "failed", "stopped", "terminated"]


class Message(msgspec.Struct, frozen=True, tag="message"):
    """`send(msg)`."""

    text: str


class Blob(msgspec.Struct, frozen=True, tag="blob"):
    """`send_blob(data)`."""

    data: bytes


class Output(msgspec.Struct, frozen=True, tag="output"):
    """What the program printed."""

    text: str


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The last event.

    finished: `main` returned. failed: it raised; `error` holds the program's own traceback. stopped: somebody asked.
    terminated: a limit or the contention policy. `code` is the error's stable name.
    """

    status: Status
    value: str | None = None
    code: str | None = None
    error: str | None = None


Event = Message | Blob | Output | Ended


def event_size(event: Event) -> int:
    """About how much memory an event takes while it waits, in bytes."""
    match event:
        case Message(text=content) | Output(text=content) | Blob(data=content):
            return len(content)
        case Ended(value=value, error=error):
            return len(value or "") + len(error or "")
