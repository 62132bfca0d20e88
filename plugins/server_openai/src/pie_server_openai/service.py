"""The routes: check what is asked, launch the program, pass on what it says."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from pie_core.application.program import Program
from pie_core.errors import PieError
from pie_core.loaded import LoadedModel
from pie_core.server.routes import EventStream, Gate, attended
from pie_server_openai import responses as o
from pie_server_openai.chat import ChatShape
from pie_server_openai.completions import CompletionShape
from pie_server_openai.errors import SERVER, RequestError, of_error, of_json, read_body
from pie_server_openai.jobs import Job, chat_job, completion_job, served
from pie_server_openai.messages import Prompt, Said, said_by
from pie_server_openai.metrics import Metrics
from pie_server_openai.pictures import Picture, check_sizes
from pie_server_openai.requests import ChatRequest, CompletionRequest, Sampled
from pie_server_openai.shape import Collected, Shape, now

log = structlog.get_logger(__name__)

Asked = TypeVar("Asked", bound=Sampled)
MakeJob = Callable[[Asked, Mapping[str, LoadedModel]], tuple[Job, Sequence[Picture]]]
MakeShape = Callable[[str, bool, bool], Shape]

_GONE = 499  # the client closed the connection; nobody sees this
_DONE = b"data: [DONE]\n\n"


class Service:
    """The handlers of one server."""

    def __init__(self, gate: Gate, program: Program) -> None:
        self._gate = gate
        self._program = program
        self._metrics = Metrics(gate.metrics)
        self._since = now()

    async def chat(self, request: Request) -> Response:
        """`POST /v1/chat/completions`."""
        return await self._guarded(request, self._answer(request, ChatRequest, chat_job, ChatShape))

    async def complete(self, request: Request) -> Response:
        """`POST /v1/completions`."""
        return await self._guarded(request, self._answer(request, CompletionRequest, completion_job, CompletionShape))

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`."""

        async def listed() -> Response:
            return _json(o.ModelList(data=[self._model(name) for name in self._gate.models]))

        return await self._guarded(request, listed())

    async def model(self, request: Request) -> Response:
        """`GET /v1/models/{model}`."""

        async def found() -> Response:
            name = request.path_params["model"]
            served(name, self._gate.models)
            return _json(self._model(name))

        return await self._guarded(request, found())

    def _model(self, name: str) -> o.ServedModel:
        return o.ServedModel(id=name, created=self._since)

    async def _guarded(self, request: Request, answer: AsyncIterator[Response] | object) -> Response:
        """The answer, or what went wrong in OpenAI's form."""
        try:
            response: Response = await answer  # type: ignore[misc]
        except RequestError as failure:
            response = failure.response()
        except PieError as error:
            response = of_error(error).response()
        except ClientDisconnect:
            response = Response(status_code=_GONE)
        except Exception as error:
            log.exception("openai.crashed", path=request.url.path)
            response = _crashed(error).response()
        self._metrics.requests.labels(request.scope["route"].path, str(response.status_code)).inc()
        return response

    async def _answer(
        self, request: Request, kind: type[Asked], make_job: MakeJob[Asked], make_shape: MakeShape
    ) -> Response:
        started = time.monotonic()
        asked = _decode(await read_body(request, self._gate.largest_body), kind)
        if asked.stream_options is not None and not asked.stream:
            raise RequestError("stream_options needs stream to be true", param="stream_options")
        job, pictures = make_job(asked, self._gate.models)
        check_sizes(pictures, self._gate.most_bytes)
        counted = asked.stream_options is not None and bool(asked.stream_options.include_usage)
        shape = make_shape(asked.model, job.logprobs is not None, counted)
        arguments, blobs = [msgspec.json.encode(job).decode()], [picture.data for picture in pictures]
        run = await self._gate.launch(request, self._program, arguments, blobs)
        try:
            speaks = said_by(run, [picture.param for picture in pictures])
            said = self._metrics.watch(asked.model, speaks, started)
            collected = Collected(len(job.prompts) * job.n)
            if not asked.stream:
                await attended(request, _take_all(said, collected))
                run.stop()
                return _json(shape.whole(collected))
            first = await attended(request, _first(said, collected))  # what fails before has a status of its own
        except BaseException:
            run.stop()
            raise
        return EventStream(run, _events(first, said, collected, shape, counted))


def _decode(body: bytes, kind: type[Asked]) -> Asked:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise of_json(error) from None


async def _take_all(said: AsyncIterator[Said], collected: Collected) -> None:
    async for message in said:
        collected.take(message)


async def _first(said: AsyncIterator[Said], collected: Collected) -> Said:
    """The first message that the client gets to see."""
    async for message in said:
        if not isinstance(message, Prompt):
            return message
        collected.take(message)
    raise RequestError("the program ended without an answer", 500, SERVER)


async def _events(
    first: Said, said: AsyncIterator[Said], collected: Collected, shape: Shape, counted: bool
) -> AsyncIterator[bytes]:
    """Server-sent events; a failure is one of them. `[DONE]` comes last in any case."""
    try:
        for chunk in shape.beginning(len(collected.choices)):
            yield _event(chunk)
        message = first
        while True:
            collected.take(message)
            assert not isinstance(message, Prompt)
            yield _event(shape.chunk(message))
            try:
                message = await anext(said)
            except StopAsyncIteration:
                break
        if counted:
            yield _event(shape.last(collected.usage))
    except RequestError as failure:
        yield _event(failure.answer)
    except Exception as error:
        log.exception("openai.crashed")
        yield _event(_crashed(error).answer)
    yield _DONE


def _crashed(error: Exception) -> RequestError:
    return RequestError(f"the server failed, see its log: {type(error).__name__}", 500, SERVER)


def _event(content: msgspec.Struct) -> bytes:
    return b"data: " + msgspec.json.encode(content) + b"\n\n"


def _json(content: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
