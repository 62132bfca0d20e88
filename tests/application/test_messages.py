"""What goes in and out: messages, blobs, print, results; in order, bounded, each once."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pie_core import ArgumentError, ResourceError, TerminatedError
from pie_core.application.channel import Channel
from pie_core.application.events import Blob, Ended, Message, Output
from pie_core.application.limits import Limits
from pie_core.testing import run_inferlet
from tests.impatient import IMPATIENT, SENT


def run(body, messages=(), limits=None, arguments=(), blobs=()):
    source = "import asyncio, json\nfrom inferlet import *\nasync def main():\n    " + "\n    ".join(body.splitlines())
    return asyncio.run(run_inferlet(source, arguments, messages, limits=limits, blobs=blobs))


def finished(body, **how):
    outcome = run(body, **how)
    assert outcome.ended.status == "finished", outcome.ended.error
    return outcome


def test_messages_arrive_in_order_each_once():
    outcome = finished("for _ in range(100): send(await receive())", messages=[str(n) for n in range(100)])
    assert outcome.messages == [str(n) for n in range(100)]


def test_texts_and_blobs_have_lines_of_their_own():
    outcome = finished("send_blob(await receive_blob())\nsend(await receive())", messages=["ä", b"\x00\xff"])
    assert (outcome.messages, outcome.blobs) == (["ä"], [b"\x00\xff"])


def test_readers_are_served_in_the_order_in_which_they_came(scene):
    async def play(server):
        inferlet = await server.launch("""
async def main():
    reads = [receive() for _ in range(3)]
    send("ready")
    return " ".join([await reads[2], await reads[0], await reads[1]])
""")
        await server.message(inferlet)
        for text in "abc":
            inferlet.deliver(text)
        return (await server.ended(inferlet)).value

    assert scene(play) == "c a b"


def test_a_read_that_was_given_up_takes_no_message_with_it(scene):
    source = """
async def main():
    for _ in range(3):
        try:
            await asyncio.wait_for(receive(), 0.001)
        except TimeoutError:
            pass
    task = asyncio.create_task(forever())
    await asyncio.sleep(0)
    task.cancel()
    send("ready")
    return await receive()

async def forever():
    await receive()
"""

    async def play(server):
        inferlet = await server.launch(source)
        await server.message(inferlet)
        inferlet.deliver("the only one")
        return (await server.ended(inferlet)).value

    assert scene(play) == "the only one"


def test_a_result_may_be_awaited_again_after_a_wait_was_cut_short(scene):
    source = """
async def main():
    q, pages, embeds = use_everything()
    dist = get_next_dist(q, embeds[:1])
    try:
        await asyncio.wait_for(dist, 0)
    except TimeoutError:
        pass
    return str((await dist).max_index() == (await dist).max_index())
"""

    async def play(server):
        return (await server.run(source)).value

    assert scene(play) == "True"


def test_events_are_one_line_in_the_order_of_the_program(scene):
    async def play(server):
        inferlet = await server.launch("""
async def main():
    print("one", 1)
    send("two")
    send_blob(b"3")
    print("four", end="")
    return "five"
""")
        return [await server.event(inferlet) for _ in range(5)]

    assert scene(play) == [
        Output("one 1\n"), Message("two"), Blob(b"3"), Output("four"), Ended("finished", value="five"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "output"),
    [
        ("print()", "\n"),
        ("print('a', 2, None, sep='-', end='!')", "a-2-None!"),
        ("print('')", "\n"),
        ("print('', end='')", ""),
        ("print('x', file=None, flush=True)", "x\n"),
        ("import io; print('x', file=io.StringIO())", ""),
        ("import sys; print('x', file=sys.stderr)", ""),
    ],
)
def test_print_goes_to_the_client_unless_it_is_sent_elsewhere(call, output):
    assert finished(call).output == output


def test_print_does_not_reach_the_servers_own_output(capsys):
    finished("print('hidden')")
    assert "hidden" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("return 'x'", "x"),
        ("set_return('x')", "x"),
        ("set_return('x'); set_return('y')", "y"),
        ("set_return('x'); return 'y'", "y"),
        ("set_return('x'); return None", "x"),
        ("return ''", ""),
        ("pass", None),
    ],
)
def test_the_result_is_what_was_returned_or_set_last(body, value):
    assert finished(body).ended.value == value


def test_identity_arguments_and_flags():
    outcome = finished(
        "assert json.loads(get_flags()) == flags()\n"
        "send(json.dumps([get_version(), get_instance_id(), get_arg(), flags()]))",
        arguments=["--x", "a b"],
    )
    from pie_core import __version__

    version, instance, arguments, flags = __import__("json").loads(outcome.messages[0])
    assert version == __version__ and len(instance) == 12 and arguments == ["--x", "a b"] and flags == {}


def test_sleeping_lets_other_tasks_go_on_and_refuses_nonsense():
    outcome = finished("""order = []
async def note(seconds):
    await sleep(seconds)
    order.append(seconds)
await asyncio.gather(note(0.02), note(0), note(0.01))
for wrong in (-1, float("nan"), "x", None):
    try:
        sleep(wrong)
    except ArgumentError as error:
        order.append("refused")
return json.dumps(order)""")
    assert outcome.ended.value == '[0, 0.01, 0.02, "refused", "refused", "refused", "refused"]'


def test_blobs_of_the_launch_are_there_before_the_program_begins_and_no_other():
    body = "while (blob := receive_blob()).done: send_blob(await blob)"
    assert finished(body, blobs=[b"one", b"two"]).blobs == [b"one", b"two"]
    assert finished(body).blobs == []


# limits

SMALL = Limits(message_bytes=10, outbox_messages=3, inbox_messages=2)


@pytest.mark.parametrize(
    "call",
    ["send('x' * 11)", "send('ä' * 6)", "send_blob(bytes(11))", "print('x' * 10)", "set_return('x' * 11)"],
)
def test_what_is_too_large_is_an_error_and_is_not_sent(call):
    outcome = finished(f"try:\n    {call}\nexcept ArgumentError as error:\n    send(str(error)[:9])", limits=SMALL)
    assert outcome.messages == ["a message"] and outcome.output == "" and outcome.ended.value is None


def test_what_fits_exactly_is_sent():
    outcome = finished("send('x' * 10); send('ä' * 5); send_blob(bytes(10))", limits=SMALL)
    assert outcome.messages == ["x" * 10, "ä" * 5] and outcome.blobs == [bytes(10)]


@pytest.mark.parametrize(
    ("blobs", "kind", "says"),
    [
        ([bytes(11)], ArgumentError, "11 bytes of blobs at launch; 10 are allowed"),
        ([b"1"] * 3, ResourceError, "blob inbox"),
    ],
)
def test_blobs_that_are_too_much_are_refused_at_launch(blobs, kind, says):
    with pytest.raises(kind, match=says):
        run("pass", limits=SMALL, blobs=blobs)


def test_a_result_that_is_too_large_is_a_failure_that_says_so():
    ended = run("return 'x' * 11", limits=SMALL).ended
    assert (ended.status, ended.code) == ("failed", "argument") and "11 bytes is over the limit of 10" in ended.error


@pytest.mark.parametrize("text", ["'\\ud800'", "'a\\udfff'"])
def test_what_is_no_text_is_refused_where_it_is_sent(text):
    ended = run(f"send({text})").ended
    assert "half a surrogate pair" in ended.error


def test_a_client_that_never_reads_costs_the_program_an_error_and_still_learns_how_it_ended(scene):
    source = """
async def main():
    use_everything()
    sent = 0
    try:
        while True:
            send("x")
            sent += 1
    except ResourceError as error:
        set_return(f"{sent} {error}")
"""

    async def play(server):
        inferlet = await server.launch(source)
        ended = await server.ended(inferlet)
        return ended.value, [await server.event(inferlet) for _ in range(4)]

    value, events = scene(play, Limits(outbox_messages=3))
    assert value.startswith("3 outbox of inferlet") and "3 messages wait and nobody reads them" in value
    assert events[:3] == [Message("x")] * 3 and isinstance(events[3], Ended)


def test_a_program_that_never_reads_costs_its_client_an_error(scene):
    async def play(server):
        inferlet = await server.launch("async def main(): await asyncio.Event().wait()")
        inferlet.deliver("1")
        inferlet.deliver("2")
        inferlet.deliver(b"a blob")  # has a line of its own
        with pytest.raises(ResourceError, match=r"inbox of inferlet \w+: 2 messages wait and nobody reads them"):
            inferlet.deliver("3")
        with pytest.raises(ArgumentError, match=r"a message of 11 bytes is over the limit of 10"):
            inferlet.deliver("x" * 11)
        server.application.stop(inferlet, "over")
        with pytest.raises(TerminatedError, match=r"has ended \(stopped\)"):
            inferlet.deliver("4")

    scene(play, SMALL)


def test_after_the_end_a_client_reads_what_is_left_and_then_an_error(scene):
    async def play(server):
        inferlet = await server.launch("async def main(): send('last words')")
        await server.ended(inferlet)
        assert await server.message(inferlet) == "last words"
        assert isinstance(await server.event(inferlet), Ended)
        with pytest.raises(TerminatedError):
            await server.event(inferlet)

    scene(play)


# the runtime calls


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("send()", "missing 1 required positional argument"),
        ("send(5)", "send: argument `msg`: expected str, got 5"),
        ("send_blob('x')", "send_blob: argument `data`: expected bytes, got 'x'"),
        ("get_model('fakee')", "no model is named 'fakee'; did you mean 'fake'"),
        ("synchronize(5)", "pass a Queue first, as model.create_queue"),
        ("set_queue_priority(create_queue(get_auto_model()), 2**31)", "argument `pri`: 2147483648 is outside"),
        ("debug_query(create_queue(get_auto_model()), 'spce')", "did you mean 'space'"),
        ("set_return(None)", "argument `value`: expected str, got None"),
    ],
)
def test_a_wrong_call_to_the_runtime_is_an_error_that_names_it(call, message):
    assert message in run(call).ended.error


def test_a_model_tells_what_it_is():
    outcome = finished("""model = get_auto_model()
facts = [model.name, model.kvpage_size, model.vocab_size, model.max_position, model.eos_tokens, model.traits]
assert [m.name for m in available_models()] == ["fake"] == [m.name for m in models_with_traits(["forward"])]
assert model_names() == ["fake"] and json.loads(model_facts(model))["name"] == "fake"
assert models_with_traits(["telepathy"]) == [] and available_traits(model) == list(model.traits)
q = create_queue(model)
assert json.loads(debug_query(q, "space")) == {"kvpage": 0, "embed": 0}
alloc_emb(q, 2)
assert json.loads(debug_query(q, "pools"))["embed"]["free"] == 254
assert json.loads(debug_query(q, "queue")) == {"outstanding": [], "priority": 0}
set_queue_priority(q, -3)
assert json.loads(debug_query(q, "queue")) == {"outstanding": [], "priority": -3}
json.loads(debug_query(q, "statistics"))
return json.dumps(facts)""")
    assert outcome.ended.value == (
        '["fake", 16, 257, 4096, [256], ["allocate", "forward", "input_text", "output_text", "tokenize"]]'
    )


def test_a_mistyped_import_names_what_is_missing():
    ended = run("from inferlet import get_next_dits").ended
    assert ended.status == "failed" and "get_next_dits" in ended.error


# the channel alone


@given(st.lists(st.sampled_from(["put", "get", "give up"]), max_size=60))
def test_whatever_the_order_every_message_is_read_once_and_in_order(steps):
    channel, reads, sent = Channel("test", capacity=1000), [], 0
    for step in steps:
        if step == "put":
            channel.put(sent)
            sent += 1
        elif step == "get":
            reads.append(channel.get())
        elif reads and not reads[-1].done:
            reads.pop().give_up()
    arrived = [read.result() for read in reads if read.done]
    assert arrived == list(range(len(arrived)))
    assert len(channel) == sent - len(arrived)
    channel.close(TerminatedError("over"), last="end")
    rest = [channel.get() for _ in range(len(channel))]
    assert [read.result() for read in reads if not read.error][len(arrived):] + [r.result() for r in rest] == [
        *range(len(arrived), sent), "end",
    ]  # fmt: skip
    assert isinstance(channel.get().error, TerminatedError)


@given(
    st.lists(st.one_of(st.sampled_from(["put", "get", "take"]), st.integers(0, 5)), max_size=80),
    st.sampled_from([None, 10**6]),
)
def test_reads_that_are_given_up_lose_and_reorder_nothing_even_when_their_message_has_come(steps, most_bytes):
    channel, reads, taken, sent = Channel("test", 1000, most_bytes, weigh=lambda _: 1), [], [], 0
    for step in steps:
        if step == "put":
            channel.put(sent)
            sent += 1
        elif step == "get":
            reads.append(channel.get())
        elif step == "take":
            if reads and reads[0].done:
                taken.append(reads.pop(0).result())
        elif step < len(reads):
            given_up = reads.pop(step)
            given_up.give_up()
            with pytest.raises(ArgumentError, match="given up"):
                given_up.result()
        assert [read.done for read in reads] == sorted((read.done for read in reads), reverse=True)
    taken += [read.result() for read in reads if read.done]
    while len(channel):
        taken.append(channel.get().result())
    assert taken == list(range(sent))
    assert channel._bytes == 0


def test_a_message_that_was_taken_stays_taken():
    channel = Channel("inbox", capacity=2)
    read = channel.get()
    channel.put("a")
    assert read.result() == "a"
    read.give_up()
    assert read.result() == "a"
    assert len(channel) == 0


def test_messages_that_came_for_reads_which_nobody_finishes_are_bounded():
    channel = Channel("inbox", capacity=2)
    reads = [channel.get() for _ in range(4)]
    channel.put("a")
    channel.put("b")
    with pytest.raises(ResourceError, match="2 messages wait and nobody reads them"):
        channel.put("c")
    assert [read.result() for read in reads[:2]] == ["a", "b"]
    channel.put("c")


def test_a_program_that_gives_up_most_of_its_reads_gets_every_message_in_order(scene):
    async def play(server):
        inferlet = await server.launch(IMPATIENT)
        for number, text in enumerate(SENT):
            inferlet.deliver(text)
            if number % 3 == 0:
                await asyncio.sleep(0)
        return (await server.ended(inferlet)).value

    assert scene(play) == " ".join(SENT)


def test_what_waits_is_bounded_by_its_weight_too():
    channel = Channel("outbox", capacity=10, most_bytes=5)
    channel.put("abc")
    with pytest.raises(ResourceError, match="3 bytes wait and nobody reads them, of 5 allowed"):
        channel.put("def")
    assert channel.get().result() == "abc"
    channel.put("defgh")
    assert channel.get().result() == "defgh"
