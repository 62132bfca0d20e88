"""Calls: the loaded models and what they can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pie_core.application.calls.base import RuntimeCall

if TYPE_CHECKING:
    from pie_core.application.host import Host


class ModelNames(RuntimeCall):
    """The names of the loaded models, the default one first."""

    name = "model_names"
    returns = list[str]

    def apply(self, host: Host, model: str | None, queue: int | None) -> list[str]:
        return list(host.models)


class ModelFacts(RuntimeCall):
    """What is known of a model, as a JSON object: the attributes of `Model`.

    ArgumentError: no model of this name, with near ones (at `get_model`).
    """

    target = "model"
    returns = str

    def apply(self, host: Host, model: str | None, queue: int | None) -> str:
        return host.model_facts(model)


class AvailableTraits(RuntimeCall):
    """The traits a model really has, supertraits included.

    ArgumentError: as for `model_facts`.
    """

    target = "model"
    returns = list[str]

    def apply(self, host: Host, model: str | None, queue: int | None) -> list[str]:
        return list(host.model(model).traits)


CALLS = (ModelNames, ModelFacts, AvailableTraits)
