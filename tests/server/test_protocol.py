"""What frames mean, and what is said of those that mean nothing."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pie_core.application.events import Blob, Ended, Message, Output
from pie_core.errors import ArgumentError, ProtocolError
from pie_core.server import protocol as p

REQUESTS = [
    p.Hello(request=1, protocol=1),
    p.Launch(
        request=2,
        name="a",
        source="b",
        filename="c",
        arguments=["--d"],
        blobs=[b"\x00\xff"],
        detach=True,
        allow=p.Allow(["a.b"], True),
    ),
    p.Deliver(request=3, id="a", text="ü"),
    p.DeliverBlob(request=4, id="a", data=b"\x00\xff"),
    p.Attach(request=5, id="a"),
    p.Stop(request=6, id="a"),
    p.List(request=7),
    p.Ping(request=0),
]
REPLIES = [
    p.Welcome(request=1, server="0.1.0", protocol=1, models=["fake"], frame_bytes=100),
    p.Launched(request=2, id="a"),
    p.Done(request=3),
    p.Listing(request=4, inferlets=[{"id": "a", "seconds": 1.5}]),
    p.error_reply(None, ArgumentError("what")),
    *(p.Event(id="a", event=e) for e in (Message("m"), Blob(b"\xff"), Output("o"), Ended("finished", value="v"))),
]


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("message", REQUESTS, ids=lambda m: type(m).__name__)
def test_requests_survive_both_formats(message, text):
    assert p.decode_request(p.encode(message, text)) == message


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("message", REPLIES, ids=lambda m: type(m).__name__)
def test_replies_survive_both_formats(message, text):
    assert p.decode_reply(p.encode(message, text)) == message


@pytest.mark.parametrize(
    ("frame", "request_number", "says"),
    [
        ("{", None, "not valid JSON"),
        (b"\xc1", None, "not valid msgpack"),
        (b"\x91" * 5000, None, "not valid msgpack"),
        ("[" * 100_000, None, "not valid JSON"),
        ("", None, "not valid JSON"),
        ("[1]", None, "must be an object with a `type`, got list"),
        ('{"request": 7}', 7, "no `type`"),
        ('{"type": "lunch", "request": 7}', 7, "'lunch'; did you mean 'launch'"),
        ('{"type": ["launch"], "request": 7}', 7, "no request of type"),
        ('{"type": "launch", "request": 7}', 7, "'launch' request is not right: .*`name`"),
        ('{"type": "launch", "request": 7, "name": 8}', 7, r"Expected `str`, got `int` - at `\$.name`"),
        ('{"type": "launch", "request": 7, "name": "a", "arguments": ["b", 1]}', 7, r"\$.arguments\[1\]"),
        ('{"type": "launch", "request": 7, "name": "a", "detached": true}', 7, "detached"),
        ('{"type": "ping", "request": "7"}', None, r"\$.request"),
        ('{"type": "ping", "request": -1}', None, r"\$.request"),
        ('{"type": "ping", "request": 99999999999999999999}', None, "request"),
        ('{"type": "ping", "request": true}', None, r"\$.request"),
        ('{"type": "deliver_blob", "request": 7, "id": "a", "data": "%%%"}', 7, r"\$.data"),
    ],
)
def test_a_bad_frame_is_an_error_that_says_what_and_where(frame, request_number, says):
    with pytest.raises(p.FrameError, match=says) as caught:
        p.decode_request(frame)
    assert caught.value.request == request_number


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_frame_is_a_request_or_a_frame_error(frame):
    try:
        p.decode_request(frame)
    except p.FrameError as error:
        p.encode(p.error_reply(error.request, error), text=True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
NAMES = ["type", "request", "id", "text", "data", "name", "source", "arguments", "detach", "why", "protocol"]
TYPES = st.sampled_from(["hello", "launch", "deliver", "deliver_blob", "attach", "stop", "list", "ping"])


@given(st.dictionaries(st.sampled_from(NAMES), JSON), TYPES, st.booleans())
def test_any_object_with_the_right_names_is_a_request_or_a_frame_error(fields, kind, packed):
    message = {**fields, "type": kind}
    try:
        frame = msgspec.msgpack.encode(message) if packed else msgspec.json.encode(message).decode()
    except (OverflowError, msgspec.EncodeError):
        return  # cannot be said in this format
    try:
        p.decode_request(frame)
    except p.FrameError as error:
        p.encode(p.error_reply(error.request, error), text=not packed)


def test_a_reply_that_the_client_does_not_understand_is_a_protocol_error():
    with pytest.raises(ProtocolError, match="does not understand"):
        p.decode_reply("{}")


def test_a_client_ignores_fields_that_a_newer_server_adds():
    assert p.decode_reply('{"type": "done", "request": 1, "colour": "red"}') == p.Done(request=1)
