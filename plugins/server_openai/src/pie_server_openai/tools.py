"""Tools and the conversation, in the form that a model's chat template takes.

A template that knows of tools gets them as they are. Others are told in words: the tools in the system message, calls
and answers in the texts, in the form that Hermes and Qwen models were trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pie_server_openai import requests as r
from pie_server_openai.errors import RequestError

OPENING = "<tool_call>\n"
_TELLS = """You may call functions. These are theirs, as JSON:
<tools>
{}
</tools>
To call one, answer with an object of its name and arguments:
<tool_call>
{{"name": ..., "arguments": ...}}
</tool_call>"""


def conversation(template: str, messages: Sequence[r.Message], tools: Sequence[r.Tool]) -> dict[str, Any]:
    """`messages` and `tools` for `render_chat`."""
    plain = [_plain(message, at) for at, message in enumerate(messages)]
    described = [msgspec.to_builtins(tool) for tool in tools]
    if "tools" in template:
        return {"messages": plain, "tools": described or None}
    plain = [_in_words(message) for message in plain]
    if described:
        text = _TELLS.format("\n".join(_json(tool["function"]) for tool in described))
        if plain[0]["role"] == "system":
            text = f"{plain.pop(0)['content']}\n\n{text}"
        plain.insert(0, {"role": "system", "content": text})
    return {"messages": plain, "tools": None}


def call_schema(tools: Sequence[r.Tool], choice: object) -> dict[str, Any]:
    """What a call may be that has to be made: of any of the functions, or of the one that was chosen."""
    functions = [tool.function for tool in tools]
    if isinstance(choice, r.ToolChoice):
        functions = [function for function in functions if function.name == choice.function.name]
    if not functions:
        raise RequestError("tool_choice asks for a call of a function that `tools` does not have", param="tool_choice")
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": f.name}, "arguments": f.parameters or {"type": "object"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for f in functions
    ]
    return calls[0] if len(calls) == 1 else {"anyOf": calls}


def answer_or_calls(schema: Mapping[str, Any], calls: Mapping[str, Any]) -> str:
    """The grammar, in Lark's notation, of an answer that follows a schema, or is one or more calls."""
    return "\n".join(
        [
            'start: answer | call ("\\n" call)*',
            f"answer: %json {_json(schema)}",
            'call: "<tool_call>\\n" called "\\n</tool_call>"',
            f"called: %json {_json(calls)}",
        ]
    )


def _plain(message: r.Message, at: int) -> dict[str, Any]:
    if isinstance(message, r.UserMessage):
        return {"role": "user", "content": _asked(message.content)}
    content = message.content
    text = content if isinstance(content, str) else "".join(part.text for part in content or [])
    match message:
        case r.AssistantMessage(tool_calls=calls) if calls:
            return {"role": "assistant", "content": text, "tool_calls": [_called(call, at) for call in calls]}
        case r.AssistantMessage():
            return {"role": "assistant", "content": text}
        case r.ToolMessage(tool_call_id=call):
            return {"role": "tool", "content": text, "tool_call_id": call}
    return {"role": "system", "content": text}


def _asked(content: str | Sequence[r.TextPart | r.ImagePart]) -> str | list[dict[str, str]]:
    """One text, or parts if there are pictures: where they stand is the template's to say."""
    if isinstance(content, str):
        return content
    texts = [part.text for part in content if isinstance(part, r.TextPart)]
    if len(texts) == len(content):
        return "".join(texts)
    return [
        {"type": "text", "text": part.text} if isinstance(part, r.TextPart) else {"type": "image"} for part in content
    ]


def _called(call: r.ToolCall, at: int) -> dict[str, Any]:
    """Templates want the arguments as an object."""
    try:
        arguments = msgspec.json.decode(call.function.arguments or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        where = f"messages[{at}].tool_calls"
        raise RequestError(
            f"the arguments of {call.function.name!r:.60} are no JSON object: {error}", param=where
        ) from None
    return {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": arguments}}


def _in_words(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    if "tool_calls" not in message:
        return message
    lines = [message["content"]] if message["content"] else []
    lines += [f"<tool_call>\n{_json(call['function'])}\n</tool_call>" for call in message["tool_calls"]]
    return {"role": message["role"], "content": "\n".join(lines)}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
