"""Failures in OpenAI's form: every mistake of a client is a 4xx that says what is wrong and where."""

from __future__ import annotations

import math
import re

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pie_core.application.events import Ended
from pie_core.errors import ArgumentError, AuthenticationError, BusyError, PieError, ResourceError, TerminatedError
from pie_server_openai.responses import ErrorAnswer, ErrorBody

INVALID, NOT_FOUND, BUSY, SERVER = "invalid_request_error", "not_found_error", "rate_limit_error", "server_error"
NO_KEY, TOO_LARGE = 401, 413
_PLACE = re.compile(r" - at (?:`key` in )?`\$\.?([^`]*)`")
_FIELD = re.compile(r"^Object (?:missing required|contains unknown) field `([^`]*)`")


class RequestError(Exception):
    """To be told to the client."""

    def __init__(
        self,
        message: str,
        status: int = 400,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float = 1.0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s
        self.answer = ErrorAnswer(ErrorBody(message, kind, param, code))

    def response(self) -> Response:
        """As long as nothing else was said."""
        headers = {"Retry-After": str(math.ceil(self.retry_after_s))} if self.status in (429, 503) else {}
        if self.status == NO_KEY:
            headers["WWW-Authenticate"] = "Bearer"
        if self.status == TOO_LARGE:
            headers["Connection"] = "close"  # nobody reads the rest
        return Response(msgspec.json.encode(self.answer), self.status, headers, "application/json")


def of_error(error: PieError) -> RequestError:
    """What the core says, to a client."""
    match error:
        case BusyError():
            return RequestError(str(error), 429, BUSY, code=error.code, retry_after_s=error.retry_after_s)
        case AuthenticationError():
            return RequestError(str(error), NO_KEY, code="invalid_api_key")  # as OpenAI has it
        case ArgumentError():
            return RequestError(str(error), code=error.code)
        case ResourceError() | TerminatedError():
            return RequestError(str(error), 503, SERVER, code=error.code)
    return RequestError(str(error), 500, SERVER, code=error.code)


def refuse(error: PieError) -> Response:
    """What the core says of a request that gets no further, in OpenAI's form."""
    return of_error(error).response()


def of_end(ended: Ended) -> RequestError:
    """Why there is no answer, or no more of it."""
    message = ended.error or "the program ended without an answer"
    if ended.status in ("stopped", "terminated"):
        return RequestError(message, 503, SERVER, code=ended.code)
    return RequestError(message, 500, SERVER, code=ended.code)


def of_refusal(code: str, text: str, param: str | None = None) -> RequestError:
    """What the program says of a request that it could not answer. param: the field that it speaks of, if of one."""
    if code == "busy":
        return RequestError(text, 429, BUSY, code=code)
    if code in ("resource", "terminated"):
        return RequestError(text, 503, SERVER, code=code)
    return (
        RequestError(text, 500, SERVER, code=code) if code == "device" else RequestError(text, param=param, code=code)
    )


def of_json(error: Exception) -> RequestError:
    """A body that is not what is wanted."""
    if not isinstance(error, msgspec.ValidationError):
        return RequestError(f"the body cannot be read as JSON: {error}")
    message = str(error)
    if message.startswith("Invalid value 'image_url'"):
        message += "; pictures are taken in messages of the role user"
    named = [found[1] for pattern in (_PLACE, _FIELD) if (found := pattern.search(message)) and found[1]]
    return RequestError(message, param=".".join(named) or None)


async def read_body(request: Request, most: int) -> bytes:
    """The body. One of more than `most` bytes is refused before it is read."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise RequestError(f"the request has more than {most} bytes", TOO_LARGE)
    return bytes(body)
