"""Chat turns through the model's own template (Jinja, in the Hugging Face convention)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from inferlet.errors import PieError

Message = dict[str, Any]
"""`role`, `content` (a text, or a list of parts), and what else the template knows of."""


def render_chat(
    template: str,
    messages: Sequence[Message],
    add_generation_prompt: bool = True,
    tools: Sequence[dict[str, Any]] | None = None,
) -> str:
    """The text of a conversation, as transformers' `apply_chat_template` renders it.

    tools: descriptions of functions, for templates that know of tools.
    """
    if not template:
        raise PieError("this model has no chat template; use plain text with `fill`")
    try:
        text: str = _compiled(template).render(
            messages=messages,
            add_generation_prompt=add_generation_prompt,
            tools=list(tools) if tools else None,
            bos_token="",
            eos_token="",
        )
    except Exception as error:  # a template that wants a text and gets a list raises anything
        raise PieError(f"the model's chat template does not take this conversation: {error}") from error
    return text


def render_turn(template: str, role: str, text: str, first: bool) -> str:
    """The text of one more turn; a user turn also opens the assistant's."""
    return render_chat(template, [{"role": role, "content": text}], add_generation_prompt=role == "user")


@lru_cache(8)
def _compiled(template: str) -> Any:
    """A Jinja template; compiling takes milliseconds, as long as a step of decoding."""
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> Any:
        raise TemplateError(message)

    def to_json(value: Any, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    environment.filters["tojson"] = to_json  # Jinja's own is for HTML, and escapes
    return environment.from_string(template)
