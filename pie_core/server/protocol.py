"""What client and server say to each other over `/v1/ws`: one message per frame, msgpack (binary) or JSON (text).

A message is an object whose `type` says which of these it is. Every request carries a number the client chooses; the
one reply to it carries the same. Events come unasked, in order, for each inferlet the connection reads. The server
answers in the format of the connection's first frame. In JSON bytes are base64.
"""

from __future__ import annotations

from typing import Annotated, Any, get_args

import msgspec

from pie_core.application.events import Event as InferletEvent
from pie_core.errors import PieError, ProtocolError, nearest

PROTOCOL = 1
"""Raised when an old client would misunderstand the server."""

PATH = "/v1/ws"


LARGEST_NUMBER = 2**53 - 1  # what every language's JSON keeps exact

Number = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_NUMBER)]


class Request(msgspec.Struct, frozen=True, tag_field="type", kw_only=True, forbid_unknown_fields=True):
    """From the client. A field the server does not know is an error, so that a misspelt one is not ignored."""

    request: Number


class Hello(Request, frozen=True, tag="hello"):
    """Optional. Refused if the server does not speak the client's `protocol`. Reply: `Welcome`."""

    protocol: int


class Allow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a launch allows, of what the server does; see docs/security.md."""

    hosts: list[str] = []
    spawn: bool = False


class Launch(Request, frozen=True, tag="launch"):
    """Start a program: `source`, a WebAssembly `component`, or else the installed program `name`.

    `digest` without a component is for one that the server may have already: BLAKE2b of its bytes, 32 bytes long, in
    hexadecimal. If it has not, it replies `Wanted`. Reply otherwise: `Launched`, then the events. `filename` is how
    errors name the program. `blobs` are for its `receive_blob()`, there before it begins. A program that is not
    `detach`ed is stopped when the connection ends. `allow` is all that it may be granted; without it that is what the
    server allows.
    """

    name: str
    source: str | None = None
    component: bytes | None = None
    digest: str | None = None
    filename: str | None = None
    arguments: list[str] = []
    blobs: list[bytes] = []
    detach: bool = False
    allow: Allow | None = None


class Deliver(Request, frozen=True, tag="deliver"):
    """A text for `receive()` of an inferlet. Reply: `Done`."""

    id: str
    text: str


class DeliverBlob(Request, frozen=True, tag="deliver_blob"):
    """Bytes for `receive_blob()`. Reply: `Done`."""

    id: str
    data: bytes


class Attach(Request, frozen=True, tag="attach"):
    """Read the events of an inferlet that no connection reads, from the oldest one left. Reply: `Done`, then events."""

    id: str


class Stop(Request, frozen=True, tag="stop"):
    """End an inferlet. Reply: `Done`; what it held is free by then."""

    id: str
    why: str = "stopped by its client"


class List(Request, frozen=True, tag="list"):
    """What runs? Reply: `Listing`."""


class Ping(Request, frozen=True, tag="ping"):
    """Are you there? Reply: `Done`."""


class Reply(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """From the server. Clients ignore fields they do not know."""


class Welcome(Reply, frozen=True, tag="welcome"):
    """Who the server is, which models it serves, and the largest frame it takes."""

    request: int
    server: str
    protocol: int
    models: list[str]
    frame_bytes: int


class Launched(Reply, frozen=True, tag="launched"):
    """The inferlet runs and has this id."""

    request: int
    id: str


class Wanted(Reply, frozen=True, tag="wanted"):
    """The server has no component of this digest: nothing was launched; send the component."""

    request: int
    digest: str


class Done(Reply, frozen=True, tag="done"):
    """It is done."""

    request: int


class Listing(Reply, frozen=True, tag="listing"):
    """The running inferlets, oldest first: id, user, program, status, seconds, held."""

    request: int
    inferlets: list[dict[str, Any]]


class Error(Reply, frozen=True, tag="error"):
    """The request was refused and nothing was done. `request` is None if the frame did not say which it was."""

    request: int | None
    code: str
    message: str


class Event(Reply, frozen=True, tag="event"):
    """Something from an inferlet; the last one is `ended`."""

    id: str
    event: InferletEvent


AnyRequest = Hello | Launch | Deliver | DeliverBlob | Attach | Stop | List | Ping
AnyReply = Welcome | Launched | Wanted | Done | Listing | Error | Event

Frame = str | bytes

_REQUESTS = msgspec.msgpack.Decoder(AnyRequest), msgspec.json.Decoder(AnyRequest)
_REPLIES = msgspec.msgpack.Decoder(AnyReply), msgspec.json.Decoder(AnyReply)
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_TAGS = [kind.__struct_config__.tag for kind in get_args(AnyRequest)]


class FrameError(ProtocolError):
    """A frame that is no request; `request` is its number if that much could be read."""

    def __init__(self, message: str, request: int | None) -> None:
        super().__init__(message)
        self.request = request


def encode(message: AnyRequest | AnyReply, text: bool) -> Frame:
    """A message as a frame."""
    return msgspec.json.encode(message).decode() if text else msgspec.msgpack.encode(message)


def decode_request(frame: Frame) -> AnyRequest:
    """A frame as a request. Raises `FrameError`, which says what is wrong with it and where."""
    packed, text = _REQUESTS
    try:
        request: AnyRequest = text.decode(frame) if isinstance(frame, str) else packed.decode(frame)
        return request
    except _UNDECODABLE as error:
        raise _frame_error(frame, error) from error


def decode_reply(frame: Frame) -> AnyReply:
    """A frame as a reply. Raises `ProtocolError`."""
    packed, text = _REPLIES
    try:
        reply: AnyReply = text.decode(frame) if isinstance(frame, str) else packed.decode(frame)
        return reply
    except _UNDECODABLE as error:
        raise ProtocolError(f"the server sent a frame that this client does not understand: {error}") from error


def error_reply(request: int | None, error: PieError) -> Error:
    """An error for the client."""
    return Error(request=request, code=error.code, message=str(error))


def _frame_error(frame: Frame, error: Exception) -> FrameError:
    try:
        raw = msgspec.json.decode(frame) if isinstance(frame, str) else msgspec.msgpack.decode(frame)
    except _UNDECODABLE as malformed:
        form = "JSON" if isinstance(frame, str) else "msgpack"
        return FrameError(f"the frame is not valid {form}: {malformed}; send one message per frame", None)
    return FrameError(_explain(raw, error), _request_number(raw))


def _explain(raw: Any, error: Exception) -> str:
    if not isinstance(raw, dict):
        return f"a message must be an object with a `type`, got {type(raw).__name__}"
    kind = raw.get("type")
    if kind is None:
        return f"the message has no `type`{nearest('', _TAGS)}"
    if kind not in _TAGS:
        return f"there is no request of type {kind!r:.60}{nearest(str(kind), _TAGS)}"
    return f"the {kind!r} request is not right: {error}"


def _request_number(raw: Any) -> int | None:
    number = raw.get("request") if isinstance(raw, dict) else None
    return number if type(number) is int and 0 <= number <= LARGEST_NUMBER else None
