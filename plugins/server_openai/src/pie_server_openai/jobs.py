"""What the program in `inferlets/` is told to do, made of what a client asks."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from pie_core.loaded import LoadedModel
from pie_server_openai import requests as r
from pie_server_openai.errors import NOT_FOUND, RequestError
from pie_server_openai.pictures import Picture, pictures_of
from pie_server_openai.tools import OPENING, answer_or_calls, call_schema, conversation

_DEFAULT_MOST = 16  # tokens of a completion, as OpenAI has it; a chat goes on as long as the model can
_LEAST_TOP_P = 1e-9
_COMPACT = {"x-guidance": {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}}
"""Else a model may go on with white space for ever."""


class Conversation(msgspec.Struct, frozen=True):
    """A chat. `opening` is what the answer begins with, and is not said."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    opening: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """`n` answers to each prompt, of at most `most` tokens each (None: what the model has room for).

    logprobs: how many alternatives to tell for each token; None: nothing of the kind. grammar: syntax and text, as
    trait `grammar` takes them. calls: whether tools may be called (`free`), or one must be (`forced`, by the grammar).
    pictures: how many come with it as blobs, for the parts `image` of a conversation, in order.
    """

    model: str
    prompts: list[str | list[int] | Conversation]
    n: int
    most: int | None
    temperature: float
    top_p: float
    top_k: int | None
    min_p: float
    seed: int
    stop: list[str]
    ignore_eos: bool
    presence: float
    frequency: float
    bias: dict[str, float]
    logprobs: int | None = None
    grammar: tuple[str, str] | None = None
    calls: Literal["free", "forced"] | None = None
    echo: bool = False
    pictures: int = 0


def chat_job(asked: r.ChatRequest, models: Mapping[str, LoadedModel]) -> tuple[Job, list[Picture]]:
    """With the pictures that go along. Raises `RequestError` where fields do not go together."""
    model = served(asked.model, models)
    if asked.top_logprobs is not None and not asked.logprobs:
        raise RequestError("top_logprobs needs logprobs to be true", param="top_logprobs")
    choice = asked.tool_choice or ("auto" if asked.tools else "none")
    tools = [] if choice == "none" else asked.tools or []
    if choice != "none" and not tools:
        raise RequestError("tool_choice needs tools", param="tool_choice")
    forced = choice not in ("none", "auto")
    grammar = _grammar(_schema(asked.response_format), call_schema(tools, choice) if tools else None, forced)
    if grammar is not None and "grammar" not in model.traits:
        raise RequestError(f"model {asked.model!r} has no trait `grammar`, so no answer can be held to a schema")
    chat = conversation(model.info.prompt_template, asked.messages, tools)
    prompt = Conversation(chat["messages"], chat["tools"], OPENING if forced else "")
    most = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
    logprobs = (asked.top_logprobs or 0) if asked.logprobs else None
    calls: Literal["free", "forced"] | None = "forced" if forced else "free" if tools else None
    pictures = pictures_of(asked.messages, model)
    more = {"logprobs": logprobs, "grammar": grammar, "calls": calls, "pictures": len(pictures)}
    return _job(asked, [prompt], most, **more), pictures


def _grammar(schema: Any, calls: Any, forced: bool) -> tuple[str, str] | None:
    """What an answer has to follow. schema: of one in words. calls: of those that can be made, or have to be."""
    schema, calls = (None if each is None else _COMPACT | each for each in (schema, calls))
    if forced:
        return "json_schema", msgspec.json.encode(calls).decode()
    if schema is None:
        return None
    if calls is None:
        return "json_schema", msgspec.json.encode(schema).decode()
    return "lark", answer_or_calls(schema, calls)


def completion_job(asked: r.CompletionRequest, models: Mapping[str, LoadedModel]) -> tuple[Job, list[Picture]]:
    """Raises `RequestError` where fields do not go together."""
    served(asked.model, models)
    if asked.best_of not in (None, asked.n or 1):
        raise RequestError("best_of is not supported; it may only equal n", param="best_of")
    if asked.echo and asked.logprobs is not None:
        raise RequestError("echo and logprobs do not go together here", param="echo")
    prompts = _prompts(asked.prompt)
    if not prompts or not all(prompts):
        raise RequestError("a prompt is empty; there is nothing to go on from", param="prompt")
    if len(prompts) * (asked.n or 1) > 128:
        raise RequestError(f"{len(prompts)} prompts, n times, are more than 128 choices", param="prompt")
    most = _DEFAULT_MOST if asked.max_tokens is None else asked.max_tokens
    return _job(asked, prompts, most, logprobs=asked.logprobs, echo=bool(asked.echo)), []


def served(name: str, models: Mapping[str, LoadedModel]) -> LoadedModel:
    """A model by name. Raises `RequestError`, a 404."""
    if name not in models:
        message = f"The model {name!r:.100} does not exist; this server has {', '.join(models)}"
        raise RequestError(message, 404, NOT_FOUND, "model", "model_not_found")
    return models[name]


def _job(asked: r.Sampled, prompts: list[Any], most: int | None, **more: Any) -> Job:
    stop = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    return Job(
        model=asked.model,
        prompts=prompts,
        n=asked.n or 1,
        most=most,
        temperature=1.0 if asked.temperature is None else asked.temperature,
        top_p=1.0 if asked.top_p is None else max(asked.top_p, _LEAST_TOP_P),
        top_k=asked.top_k if asked.top_k is not None and asked.top_k > 0 else None,
        min_p=asked.min_p or 0.0,
        seed=secrets.randbits(62) if asked.seed is None else asked.seed,
        stop=stop,
        ignore_eos=bool(asked.ignore_eos),
        presence=asked.presence_penalty or 0.0,
        frequency=asked.frequency_penalty or 0.0,
        bias=asked.logit_bias or {},
        **more,
    )


def _schema(wanted: r.TextFormat | r.JsonObjectFormat | r.JsonSchemaFormat | None) -> dict[str, Any] | None:
    match wanted:
        case r.JsonObjectFormat():
            return {"type": "object"}
        case r.JsonSchemaFormat(json_schema=named):
            return named.schema or {}
    return None


def _prompts(prompt: str | list[str | int | list[int]]) -> list[Any]:
    if isinstance(prompt, str):
        return [prompt]
    if len({type(one) for one in prompt}) > 1:
        raise RequestError("a list of prompts has texts, or tokens, or lists of tokens; not several", param="prompt")
    return [prompt] if prompt and isinstance(prompt[0], int) else list(prompt)
