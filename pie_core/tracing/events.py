"""The events of Chrome's trace format ("Trace Event Format", Google, 2016) that we write. Times: whole microseconds.

A process is what the viewer shows as a group of tracks, a thread is a track: numbers that `Name` gives names to.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Span(msgspec.Struct, tag_field="ph", tag="X", gc=False):
    """Something that began at `ts` and took `dur`. Spans of a track are nested, or do not overlap."""

    name: str
    pid: int
    tid: int
    ts: int
    dur: int
    args: dict[str, Any]


class Begin(msgspec.Struct, tag_field="ph", tag="B", gc=False):
    """Something begins; it lasts until an `End` on its track, or for ever."""

    name: str
    pid: int
    tid: int
    ts: int
    args: dict[str, Any]


class End(msgspec.Struct, tag_field="ph", tag="E", gc=False):
    """What began last on the track ends."""

    pid: int
    tid: int
    ts: int
    args: dict[str, Any]


class Name(msgspec.Struct, tag_field="ph", tag="M", gc=False):
    """Says in `args` what a number means; `name`: "process_name" or "thread_name"."""

    name: str
    pid: int
    tid: int
    args: dict[str, Any]


class Mark(msgspec.Struct, tag_field="ph", tag="i", gc=False):
    """Something about the whole trace, at a moment of it."""

    name: str
    pid: int
    tid: int
    ts: int
    args: dict[str, Any]
    s: str = "g"


def microseconds(seconds: float) -> int:
    """Whole ones, in the order of what they are made of."""
    return int(seconds * 1e6)


TraceEvent = Span | Begin | End | Name | Mark
