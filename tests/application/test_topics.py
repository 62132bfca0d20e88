"""Broadcasts: to all subscribers of the user, in order, bounded for each reader alone."""

import asyncio
import json

import pytest

from pie_core.application.limits import Limits

SMALL = Limits(mail_messages=3, mail_bytes=100, subscriptions=2)

READER = """
async def main():
    subscription = subscribe("news")
    send("ready")
    found = []
    async for text in subscription:
        found.append(text)
        if text == "end":
            subscription.unsubscribe()
    return " ".join(found)
"""
WRITER = """
async def main():
    for text in get_arg():
        broadcast("news", text)
"""


async def started(server, source, user="local", count=1):
    """Inferlets that have sent their first message."""
    inferlets = [await server.launch(source, user=user) for _ in range(count)]
    for inferlet in inferlets:
        await server.message(inferlet)
    return inferlets


def test_everyone_who_is_subscribed_gets_everything_in_order(scene):
    async def play(server):
        readers = await started(server, READER, count=3)
        await server.launch(WRITER, "one", "two", "end")
        return [(await server.ended(reader)).value for reader in readers]

    assert scene(play) == ["one two end"] * 3


def test_topics_are_of_the_user(scene):
    async def play(server):
        (ann,), (bob,) = await started(server, READER, "ann"), await started(server, READER, "bob")
        await server.ended(await server.launch(WRITER, "for ann", "end", user="ann"))
        await server.ended(await server.launch(WRITER, "for bob", "end", user="bob"))
        return (await server.ended(ann)).value, (await server.ended(bob)).value

    assert scene(play) == ("for ann end", "for bob end")


def test_who_broadcasts_hears_itself_and_nothing_from_before(scene):
    source = """
async def main():
    broadcast("news", "nobody hears this")
    with subscribe("news") as one, subscribe("news") as two, subscribe("other") as three:
        broadcast("news", "x")
        return await one.receive() + await two.receive() + str(three.receive().done)
"""

    async def play(server):
        return (await server.run(source)).value

    assert scene(play) == "xxFalse"


def test_a_subscription_can_be_named_by_number(scene):
    source = """
async def main():
    subscribe("news")
    broadcast("news", "x")
    found = await next_message(1)
    unsubscribe(1)
    try:
        await next_message(1)
    except HandleError:
        return found
"""

    async def play(server):
        return (await server.run(source)).value

    assert scene(play) == "x"


def test_a_slow_reader_gets_an_error_once_and_others_notice_nothing(scene):
    slow = """
async def main():
    subscription = subscribe("news")
    send("ready")
    await receive()
    found = []
    while True:
        try:
            found.append(await subscription.receive())
        except ResourceError as error:
            found.append(str(error))
        if found[-1] == "end":
            return json.dumps(found)
"""

    async def play(server):
        (late,) = await started(server, "import json" + slow)
        (quick,) = await started(server, READER)
        source = WRITER.replace("broadcast(", "await asyncio.sleep(0); broadcast(")
        await server.ended(await server.launch(source, *"12345678"))
        late.deliver("go on")
        await asyncio.sleep(0.01)
        await server.ended(await server.launch(source, "9", "end"))
        return json.loads((await server.ended(late)).value), (await server.ended(quick)).value

    found, quick = scene(play, SMALL)
    assert "topic 'news': 8 messages were lost" in found[0] and found[1:] == ["9", "end"]
    assert quick == "1 2 3 4 5 6 7 8 9 end"


def test_what_waits_is_bounded_by_its_weight_too(scene):
    source = """
async def main():
    subscription = subscribe("news")
    for _ in range(2):
        broadcast("news", "x" * 60)
    broadcast("news", "last")
    try:
        await subscription.receive()
    except ResourceError as error:
        return str(error)[:40] + await subscription.receive()
"""

    async def play(server):
        return (await server.run(source)).value

    assert scene(play, SMALL) == "topic 'news': 2 messages were lost, becalast"


def test_a_read_that_was_given_up_takes_no_message_with_it(scene):
    source = """
async def main():
    subscription = subscribe("news")
    for _ in range(3):
        try:
            await asyncio.wait_for(subscription.receive(), 0.001)
        except TimeoutError:
            pass
    broadcast("news", "the only one")
    return await subscription.receive()
"""

    async def play(server):
        return (await server.run(source)).value

    assert scene(play) == "the only one"


def test_unsubscribing_ends_a_loop_that_waits(scene):
    source = """
async def main():
    subscription = subscribe("news")
    async def read():
        return [text async for text in subscription]
    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    subscription.unsubscribe()
    subscription.unsubscribe()
    return str(await task) + str([text async for text in subscription]) + repr(subscription)
"""

    async def play(server):
        return (await server.run(source)).value

    assert scene(play) == "[][]<Subscription to 'news', ended>"


@pytest.mark.parametrize("end", ["return", "raise ValueError", "await receive()"])
def test_nothing_is_left_when_an_inferlet_ends(scene, end):
    source = f"""
async def main():
    subscriptions = [subscribe("a"), subscribe("b")]
    reading = subscriptions[0].receive()
    send("ready")
    {end}
"""

    async def play(server):
        (inferlet,) = await started(server, source)
        server.application.stop(inferlet, "over")
        await server.ended(inferlet)
        return len(server.application._services.topics), server.application._services.topics._readers

    assert scene(play) == (0, {})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("subscribe('')", "ArgumentError: a topic's name of 0 bytes; 1 to 512 are allowed"),
        ("broadcast('ä' * 257, '')", "ArgumentError: a topic's name of 514 bytes"),
        ("broadcast('a', 'x' * 101)", "ArgumentError: broadcast: a text of 101 is over the 100 allowed"),
        ("broadcast('a', b'x')", "ArgumentError: broadcast: argument `msg`: expected str"),
        ("[subscribe('a') for _ in range(3)]", "ResourceError: subscribe: the inferlet has 2 subscriptions"),
        ("from inferlet import next_message; await next_message(7)", "HandleError: 7 is no subscription"),
        ("from inferlet import unsubscribe; unsubscribe(1)", "HandleError: 1 is no subscription"),
        ("s = subscribe('a'); s.unsubscribe(); await s.receive()", "HandleError: 1 is no subscription"),
    ],
)
def test_a_wrong_call_is_an_error_that_says_so(scene, call, message):
    async def play(server):
        return (await server.run(f"async def main():\n    {call}")).error

    assert message in scene(play, SMALL)


def test_unsubscribing_makes_room(scene):
    async def play(server):
        return (await server.run("async def main():\n    for _ in range(9): subscribe('a').unsubscribe()")).status

    assert scene(play, SMALL) == "finished"
