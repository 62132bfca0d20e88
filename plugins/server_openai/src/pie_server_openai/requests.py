"""What clients may ask, as OpenAI's API reference has it. A field that is not here is refused, as OpenAI does.

Fields that say nothing about the answer (`user`, `store`, ...) are taken and ignored. `top_k`, `min_p` and `ignore_eos`
are of vLLM and others.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

MOST_TOPS = 20  # log probabilities of alternatives
_Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Count = Annotated[int, Meta(ge=0, le=2**31)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_Ending = Annotated[str, Meta(min_length=1)]


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object of a request."""


class StreamOptions(Struct, frozen=True):
    """How to stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None  # taken and ignored


class Sampled(Struct, frozen=True, kw_only=True):
    """What both kinds of completion have."""

    model: str
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stop: _Ending | Annotated[list[_Ending], Meta(max_length=16)] | None = None
    seed: _Integer | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: _Count | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    logit_bias: dict[Annotated[str, Meta(pattern="^[0-9]{1,9}$")], Annotated[float, Meta(ge=-100, le=100)]] | None = (
        None
    )
    ignore_eos: bool | None = None
    user: str | None = None


class CompletionRequest(Sampled, frozen=True, kw_only=True):
    """Body of `POST /v1/completions`."""

    prompt: str | list[str | _Count | list[_Count]]  # texts, or tokens, or lists of tokens; not mixed
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=MOST_TOPS)] | None = None
    best_of: Annotated[int, Meta(ge=1, le=128)] | None = None  # `n`, or nothing
    suffix: None = None


class TextPart(Struct, frozen=True, tag="text"):
    """A piece of a message."""

    text: str


class ImageUrl(Struct, frozen=True):
    """`url` is a data URL in base64. There is one size of pictures for a model, so `detail` is taken and ignored."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Struct, frozen=True, tag="image_url"):
    """A picture in the message of a user."""

    image_url: ImageUrl


Content = str | list[TextPart]


class FunctionCall(Struct, frozen=True):
    """Arguments are JSON."""

    name: str
    arguments: str


class ToolCall(Struct, frozen=True):
    """A call that the assistant made."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"
    index: int | None = None


class SystemMessage(Struct, frozen=True, tag_field="role", tag="system"):
    """What the assistant is told to be."""

    content: Content
    name: str | None = None


class DeveloperMessage(SystemMessage, frozen=True, tag_field="role", tag="developer"):
    """The same under its newer name."""


class UserMessage(Struct, frozen=True, tag_field="role", tag="user"):
    """A question, about pictures perhaps."""

    content: str | list[TextPart | ImagePart]
    name: str | None = None


class AssistantMessage(Struct, frozen=True, tag_field="role", tag="assistant"):
    """An earlier answer, as this server gave it."""

    content: Content | None = None
    tool_calls: list[ToolCall] | None = None
    name: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None


class ToolMessage(Struct, frozen=True, tag_field="role", tag="tool"):
    """What a tool said."""

    content: Content
    tool_call_id: str


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class Function(Struct, frozen=True, omit_defaults=True):
    """A function that may be called. `parameters` is a JSON schema."""

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct, frozen=True):
    """A tool, which is a function."""

    type: Literal["function"]
    function: Function


class FunctionName(Struct, frozen=True):
    """One of the functions."""

    name: str


class ToolChoice(Struct, frozen=True):
    """The function to call."""

    function: FunctionName
    type: Literal["function"]


class TextFormat(Struct, frozen=True, tag="text"):
    """Any text."""


class JsonObjectFormat(Struct, frozen=True, tag="json_object"):
    """Any JSON object."""


class JsonSchema(Struct, frozen=True):
    """A JSON schema that the answer follows."""

    name: str
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(Struct, frozen=True, tag="json_schema"):
    """JSON of a schema."""

    json_schema: JsonSchema


class ChatRequest(Sampled, frozen=True, kw_only=True):
    """Body of `POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    max_completion_tokens: Annotated[int, Meta(ge=1, le=2**31)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=MOST_TOPS)] | None = None
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    tools: Annotated[list[Tool], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
