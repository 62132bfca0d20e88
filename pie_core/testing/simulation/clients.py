"""Clients: they launch, send, read slowly or leave, and hold the server to what it promises them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pie_core.application.channel import Channel
from pie_core.application.events import Ended, Message
from pie_core.application.inferlet import Inferlet, Outbox
from pie_core.control.ticket import Ticket
from pie_core.errors import PieError, ResourceError, TerminatedError
from pie_core.testing.simulation.trace import Trace

if TYPE_CHECKING:
    from pie_core.testing.simulation.run import Run


async def attend(run: Run, trace: Trace) -> None:
    """Launch an inferlet when it is time, and stay until it has ended."""
    if not run.world.serial:
        await asyncio.sleep(trace.visit.arrives)
    inferlet = await run.launch(trace)
    sending = asyncio.create_task(_send(run, trace, inferlet))
    await _read(run, trace, inferlet)
    outcome = await _arrival(inferlet.ended)
    await sending
    _check_outbox(run, trace, inferlet, outcome)
    _check_inbox(run, trace, inferlet)


async def _send(run: Run, trace: Trace, inferlet: Inferlet) -> None:
    """Messages are numbered as they are accepted; a full inbox is tried again, later and later."""
    for pause in trace.visit.client.messages:
        await asyncio.sleep(0.0 if run.world.serial else pause)
        again = 0.01
        while True:
            try:
                inferlet.deliver(str(len(trace.delivered)))
            except ResourceError:
                await asyncio.sleep(again)
                again *= 2
            except TerminatedError:
                return
            else:
                trace.delivered.append(str(len(trace.delivered)))
                run.watch.say(f"{inferlet.id} is sent a message")
                break


async def _read(run: Run, trace: Trace, inferlet: Inferlet) -> None:
    """Until it has ended, or the client leaves in the middle of a read."""
    client = trace.visit.client
    while True:
        reading = inferlet.events.get()
        if client.leaves == len(trace.read) and not run.world.serial and not reading.done:
            await asyncio.sleep(0)
            reading.give_up()
            run.watch.say(f"the client of {inferlet.id} leaves")
            return
        try:
            event = await _arrival(reading)
        except PieError as error:
            run.watch.complain(f"the events of {inferlet.id} closed without an end: {error}")
            return
        if _take(trace, event):
            return
        if client.pause and not run.world.serial:
            await asyncio.sleep(client.pause)


def _take(trace: Trace, event: Any) -> bool:
    """Keep a message; True if it is the end."""
    if isinstance(event, Message):
        trace.read.append(event.text)
    return isinstance(event, Ended)


def _check_outbox(run: Run, trace: Trace, inferlet: Inferlet, outcome: Ended) -> None:
    """Everything that was sent arrives, in order, once, and then one end."""
    rest = _rest(inferlet.events)
    texts = [event.text for event in rest if isinstance(event, Message)]
    if trace.read + texts != trace.stage.sent:
        run.watch.complain(f"{inferlet.id} sent {trace.stage.sent}, its client got {trace.read + texts}")
    if any(isinstance(event, Ended) for event in rest[:-1]) or (rest and rest[-1] != outcome):
        run.watch.complain(f"{inferlet.id}: the end is not the last event, or there are two: {rest}")


def _check_inbox(run: Run, trace: Trace, inferlet: Inferlet) -> None:
    """What the client sent arrives in order, once; what an ended program did not take is still there."""
    received, delivered = trace.stage.received, trace.delivered
    rest = _rest(inferlet.inbox)
    if received != delivered[: len(received)]:
        run.watch.complain(f"{inferlet.id} was sent {delivered}, it received {received}")
    elif trace.cause is None and received + rest != delivered:
        run.watch.complain(f"{inferlet.id} was sent {delivered}, it received {received}, and only {rest} are left")


def _rest(channel: Channel | Outbox) -> list[Any]:
    """What is left in a closed channel."""
    found: list[Any] = []
    while True:
        ticket = channel.get()
        if not ticket.done or ticket.error is not None:
            return found
        found.append(ticket.result())


async def _arrival(ticket: Ticket) -> Any:
    """Wait for a ticket."""
    arrived = asyncio.get_running_loop().create_future()
    ticket.watch(lambda _: None if arrived.done() else arrived.set_result(None))
    await arrived
    return ticket.result()
