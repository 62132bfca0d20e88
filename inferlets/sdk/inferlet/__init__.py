"""What a program that runs inside a pie-core server imports.

The calls of the installed traits (`forward`, `embed_txt`, `get_next_dist`, ...) and of the runtime (`send`,
`receive`, ...) are here by name; `Context`, samplers and stop conditions are a small library on top of them.
"""

from typing import Any

from inferlet import calls as _calls
from inferlet.adjusting import adjust
from inferlet.attention import roll
from inferlet.chat import render_chat
from inferlet.chat_images import render_around_images, render_image_turn
from inferlet.context import Context
from inferlet.dist import Dist
from inferlet.drafting import Drafter, prompt_lookup
from inferlet.errors import (
    ArgumentError,
    BusyError,
    CapabilityError,
    DeviceError,
    HandleError,
    NetworkError,
    PieError,
    ProgramError,
    ResourceError,
    TerminatedError,
    TraitError,
)
from inferlet.future import Future
from inferlet.guiding import Grammar
from inferlet.handles import Embed, KvPage, Queue
from inferlet.model import (
    Model,
    available_models,
    create_queue,
    flags,
    get_auto_model,
    get_model,
    models_with_traits,
)
from inferlet.network import Response, http_get, http_post
from inferlet.programs import Child, spawn
from inferlet.sampling import greedy, sampling, typical
from inferlet.speculating import speculate
from inferlet.stopping import any_of, ends_with, max_tokens
from inferlet.streaming import TextDecoder, lines
from inferlet.topics import Subscription, subscribe

__all__ = [  # `calls.install` adds the calls, so that `from inferlet import *` brings them too
    "ArgumentError",
    "BusyError",
    "CapabilityError",
    "Child",
    "Context",
    "DeviceError",
    "Dist",
    "Drafter",
    "Embed",
    "Future",
    "Grammar",
    "HandleError",
    "KvPage",
    "Model",
    "NetworkError",
    "PieError",
    "ProgramError",
    "Queue",
    "ResourceError",
    "Response",
    "Subscription",
    "TerminatedError",
    "TextDecoder",
    "TraitError",
    "adjust",
    "any_of",
    "available_models",
    "create_queue",
    "ends_with",
    "flags",
    "get_auto_model",
    "get_model",
    "greedy",
    "http_get",
    "http_post",
    "lines",
    "max_tokens",
    "models_with_traits",
    "prompt_lookup",
    "render_around_images",
    "render_chat",
    "render_image_turn",
    "roll",
    "sampling",
    "spawn",
    "speculate",
    "subscribe",
    "typical",
]


def __getattr__(name: str) -> Any:
    return getattr(_calls, name)
