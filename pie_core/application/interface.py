"""The declared calls as plain data, from which the SDK makes its functions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pie_core.application.calls.base import RuntimeCall
from pie_core.application.runtime import RUNTIME
from pie_core.command import Call, Command
from pie_core.trait import Trait


def describe(traits: Iterable[Trait]) -> list[dict[str, Any]]:
    """One entry for each call of the runtime and of `traits`; see `inferlet.bindings.Declaration` for the fields."""
    return [_describe(trait, call) for trait in (RUNTIME, *traits) for call in trait.calls]


def is_future(call: type[Call]) -> bool:
    """Whether the guest gets a future for the result instead of the result."""
    return issubclass(call, Command) or (issubclass(call, RuntimeCall) and call.future)


def _describe(trait: Trait, call: type[Call]) -> dict[str, Any]:
    signature = call.signature()
    return {
        "call": signature.name,
        "trait": trait.name,
        "target": signature.target,
        "future": is_future(call),
        "parameters": [
            {"name": p.name, "type": p.type.name, "required": p.required, "default": p.default}
            for p in signature.parameters
        ],
        "returns": signature.returns.name,
        "doc": signature.doc,
    }
