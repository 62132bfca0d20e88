"""Policies by name: finds the plugin, reads its options, makes the policy. Plugin options in general are read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from pie_core.control.contention import ContentionPolicy, FcfsKill
from pie_core.control.dispatch import ADAPTIVE, DispatchPolicy
from pie_core.control.policy import PolicySpec
from pie_core.control.swap_policy import SWAP
from pie_core.errors import ConfigError, PluginError, misfit, nearest
from pie_core.inference.backend import Backend
from pie_core.plugins import Selection, load, select_named

PolicyKind = Literal["dispatch", "contention"]


@dataclass(frozen=True)
class PolicyChoice:
    """A policy plugin by name, None for the default, and its options, as text."""

    name: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


def make_dispatch(choice: PolicyChoice, selection: Selection) -> DispatchPolicy:
    """The dispatch policy that was chosen. Raises `PluginError` or `ConfigError`."""
    policy = _make("dispatch", choice, selection, ADAPTIVE)
    if not isinstance(policy, DispatchPolicy):
        raise PluginError(f"dispatch policy {choice.name!r} is a {type(policy).__name__}, not a DispatchPolicy")
    return policy


def make_contention(choice: PolicyChoice, selection: Selection) -> ContentionPolicy:
    """The contention policy that was chosen. Raises `PluginError` or `ConfigError`."""
    policy = _make("contention", choice, selection, SWAP)
    if not isinstance(policy, ContentionPolicy):
        raise PluginError(f"contention policy {choice.name!r} is a {type(policy).__name__}, not a ContentionPolicy")
    return policy


def fit_contention(policy: ContentionPolicy, choice: PolicyChoice, backend: Backend) -> ContentionPolicy:
    """The policy, if the backend can do what it needs; else the paper's, unless another was asked for."""
    if not policy.host_bytes or backend.swapper is not None:
        return policy
    if choice == PolicyChoice():
        return FcfsKill()
    raise ConfigError(
        f"contention policy {policy.name!r} moves pages to host memory, which the backend on {backend.device} cannot; "
        "choose another one with --contention"
    )


def parse_options(owner: str, options: type[msgspec.Struct], given: Mapping[str, str], setting: str = "options") -> Any:
    """The options of a plugin from `name=value` texts. Raises `ConfigError` naming the owner and the near names.

    setting: that said them.
    """
    fields = {entry.name for entry in msgspec.structs.fields(options)}
    for name in given:
        if name not in fields:
            raise ConfigError(f"{owner} has no option {name!r}{nearest(name, fields)}", f"{setting}.{name}")
    try:
        return msgspec.convert(dict(given), options, strict=False)
    except msgspec.ValidationError as error:
        name, why = misfit(error)
        said = f"{owner}: option {name}={given[name]}: {why}" if name in given else f"{owner}: {error}"
        raise ConfigError(said, f"{setting}.{name}" if name else setting) from error


def find_policy(kind: PolicyKind, choice: PolicyChoice, selection: Selection, default: PolicySpec) -> PolicySpec:
    """The policy that was chosen, not made yet. Raises `PluginError`."""
    if choice.name is None:
        return default
    plugin = select_named(kind, choice.name, selection)
    spec = load(plugin)
    if not isinstance(spec, PolicySpec):
        raise PluginError(f"{plugin} registers a {type(spec).__name__}, not a PolicySpec")
    if spec.name != plugin.name:
        raise PluginError(f"{plugin} registers a policy named {spec.name!r}; entry point and policy must agree")
    return spec


def _make(kind: PolicyKind, choice: PolicyChoice, selection: Selection, default: PolicySpec) -> object:
    spec = find_policy(kind, choice, selection, default)
    options = parse_options(f"{kind} policy {spec.name!r}", spec.options, choice.options, f"{kind}_options")
    policy: object = spec.make(options)
    return policy
