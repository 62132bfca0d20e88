"""What worlds are made of: the installed traits and policies, found once for many worlds."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pie_core.control.contention import ContentionPolicy
from pie_core.control.dispatch import DispatchPolicy
from pie_core.control.policy import PolicySpec
from pie_core.errors import PluginError, nearest
from pie_core.plugins import Selection, discover, load, select
from pie_core.policies import parse_options
from pie_core.registry import Registry, load_registry
from pie_core.testing.simulation.linger import lingering


@dataclass(frozen=True)
class Installed:
    """The traits, with one of the simulation's own; the policies of each kind by name: the core's and all that packages
    bring."""

    registry: Registry
    dispatch: Mapping[str, PolicySpec]
    contention: Mapping[str, PolicySpec]

    def make_dispatch(self, text: str) -> DispatchPolicy:
        """A new policy: an installed one by its name, or any by `package.module:Class`; then options as `name=value`.

        Raises `PieError`.
        """
        policy: DispatchPolicy = _make(text, self.dispatch)
        return policy

    def make_contention(self, text: str) -> ContentionPolicy:
        """Likewise."""
        policy: ContentionPolicy = _make(text, self.contention)
        return policy


def load_installed() -> Installed:
    """Load all of them. Raises `PieError`."""
    traits = load_registry(Selection()).traits
    registry = Registry([*traits.values(), lingering(traits)])
    return Installed(registry, _policies("dispatch"), _policies("contention"))


def _policies(kind: Literal["dispatch", "contention"]) -> dict[str, PolicySpec]:
    plugins = sorted(select(discover(kind), Selection()), key=lambda plugin: plugin.name)
    return {plugin.name: load(plugin) for plugin in plugins}


def _make(text: str, policies: Mapping[str, PolicySpec]) -> Any:
    name, *options = text.split()
    module, colon, attribute = name.partition(":")
    if colon:
        return getattr(importlib.import_module(module), attribute)()
    if name not in policies:
        raise PluginError(f"no policy of that kind is named {name!r}{nearest(name, policies)}")
    given = dict(option.partition("=")[::2] for option in options)
    return policies[name].make(parse_options(f"policy {name!r}", policies[name].options, given))
