"""Models as a program sees them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inferlet.errors import PieError, TraitError
from inferlet.handles import Queue
from inferlet.host import host

if TYPE_CHECKING:
    from inferlet.context import Context


class Model:
    """A loaded model and its facts. Counts are in tokens."""

    name: str
    traits: tuple[str, ...]
    description: str
    version: str
    license: str
    prompt_template: str
    kvpage_size: int
    vocab_size: int
    max_position: int
    bos_token: int | None
    eos_tokens: tuple[int, ...]
    special_tokens: tuple[int, ...]
    adapters: tuple[str, ...]

    def __init__(self, facts: dict[str, Any]) -> None:
        self.__dict__.update(facts)
        self.traits = tuple(facts["traits"])
        self.eos_tokens = tuple(facts["eos_tokens"])
        self.special_tokens = tuple(facts["special_tokens"])
        self.adapters = tuple(facts["adapters"])

    def __repr__(self) -> str:
        return f"Model({self.name!r})"

    def create_queue(self) -> Queue:
        """A new command queue."""
        return Queue(self.name, host().call("create_queue", self.name, None, ()))

    def create_context(self, adapter: str | None = None) -> Context:
        """An empty context with a queue of its own, whose tokens go through one of `adapters` or through none."""
        from inferlet.context import Context

        return Context(self, adapter)


def get_model(name: str) -> Model:
    """A loaded model by name. Raises `ArgumentError` naming the near ones."""
    return Model(json.loads(host().call("model_facts", name, None, ())))


def available_models() -> list[Model]:
    """All loaded models, the default one first."""
    return [get_model(name) for name in host().call("model_names", None, None, ())]


def get_auto_model() -> Model:
    """The server's default model."""
    return available_models()[0]


def models_with_traits(traits: Sequence[str]) -> list[Model]:
    """Models that have all of the traits."""
    return [model for model in available_models() if set(traits) <= set(model.traits)]


def require_traits(model: Model, traits: Sequence[str]) -> None:
    """Raise `TraitError` if the model lacks one."""
    missing = sorted(set(traits) - set(model.traits))
    if missing:
        raise TraitError(f"model {model.name!r} does not have {', '.join(missing)}; it has {', '.join(model.traits)}")


def create_queue(model: Model) -> Queue:
    """A new command queue of a model."""
    return model.create_queue()


def flags() -> dict[str, Any]:
    """The program's flags as its manifest declares them, with the values of this launch."""
    value = json.loads(host().call("get_flags", None, None, ()))
    if not isinstance(value, dict):
        raise PieError("the server answered get_flags with something else")
    return value
