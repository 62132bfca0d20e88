"""The events of an inferlet, for a reader that lives in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from pie_core.application.channel import Reading
from pie_core.application.events import Ended, Event, Message, Output
from pie_core.application.inferlet import Inferlet


async def events_of(inferlet: Inferlet) -> AsyncIterator[Event]:
    """Every event from now on; the last is `Ended`. An inferlet has one reader at a time: events are handed out once.

    An event that arrives while the reader is cancelled stays for the next one. Texts can always be encoded as UTF-8:
    what a program made out of half a surrogate pair becomes U+FFFD.
    """
    while True:
        reading = inferlet.events.get()
        if not reading.done:
            await _arrival(reading)
        event = _encodable(reading.result())
        yield event
        if isinstance(event, Ended):
            return


async def _arrival(reading: Reading) -> None:
    arrived = asyncio.get_running_loop().create_future()
    reading.watch(lambda _: None if arrived.done() else arrived.set_result(None))
    try:
        await arrived
    except asyncio.CancelledError:
        reading.give_up()
        raise


def _encodable(event: Event) -> Event:
    match event:
        case Message(text=text) | Output(text=text):
            return event if _is_encodable(text) else type(event)(_replaced(text))
        case Ended(value=value, error=error):
            return msgspec.structs.replace(event, value=value and _replaced(value), error=error and _replaced(error))
    return event


def _is_encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _replaced(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
