"""Traits by name and version, and which of them a loaded backend really realizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from packaging.requirements import Requirement

from pie_core.command import Call, Command, Query
from pie_core.errors import PluginError, TraitError, UnsupportedError, nearest
from pie_core.inference.backend import Backend, HandlerSpec
from pie_core.plugins import Plugin, Selection, discover, install_hint, load, select
from pie_core.trait import Trait

log = structlog.get_logger(__name__)


class Registry:
    """The installed traits. Two traits that declare a call of one name are an error that names both."""

    def __init__(self, traits: Iterable[Trait], problems: Mapping[str, str] | None = None) -> None:
        self.traits: dict[str, Trait] = {}
        self.problems: dict[str, str] = dict(problems or {})  # trait or plugin -> why it cannot be used
        owner: dict[str, str] = {}
        for trait in traits:
            for call in trait.signatures:
                if call in owner:
                    raise PluginError(f"traits {owner[call]!r} and {trait.name!r} both declare the call {call!r}")
                owner[call] = trait.name
            self.traits[trait.name] = trait
        self._owner = owner
        self._drop_unsupported()

    def trait_of(self, call: str) -> str | None:
        """The trait that declares a call."""
        return self._owner.get(call)

    def _drop_unsupported(self) -> None:
        """Set aside traits whose supertraits are missing or of another version, until all that is left can stand."""
        while missing := {
            trait.name: reason for trait in self.traits.values() if (reason := self._missing_supertrait(trait))
        }:
            for name, reason in missing.items():
                log.warning("trait.unusable", trait=name, reason=reason)
                self.problems[name] = reason
                del self.traits[name]

    def _missing_supertrait(self, trait: Trait) -> str | None:
        for requirement in trait.supertraits.values():
            base = self.traits.get(requirement.name)
            if base is None:
                return f"supertrait {requirement.name!r} is not installed"
            if not requirement.specifier.contains(base.version, prereleases=True):
                return f"supertrait {requirement} is wanted, {base.version} is installed"
        return None


def load_registry(selection: Selection) -> Registry:
    """Load every installed trait. One that fails is a warning, and a reason for whoever asks for it."""
    traits, problems = [], {}
    for plugin in select(discover("traits"), selection):
        try:
            traits.append(_load_trait(plugin))
        except PluginError as error:
            log.warning("plugin.failed", plugin=plugin.name, package=plugin.package, error=str(error))
            problems[plugin.name] = str(error)
    return Registry(traits, problems)


def _load_trait(plugin: Plugin) -> Trait:
    trait = load(plugin)
    if not isinstance(trait, Trait):
        raise PluginError(f"{plugin} registers a {type(trait).__name__}, not a Trait")
    if trait.name != plugin.name:
        raise PluginError(f"{plugin} registers a trait named {trait.name!r}; entry point and trait must agree")
    return trait


def load_handlers(backend: str, package: str, selection: Selection) -> list[HandlerSpec]:
    """The handlers for a backend, of every installed package; its own (`package`) must load, others may fail."""
    specs: list[HandlerSpec] = []
    for plugin in select(discover("handlers"), selection):
        if not plugin.name.startswith(f"{backend}."):
            continue
        try:
            specs += load(plugin)
        except PluginError as error:
            if plugin.package == package:
                raise
            log.warning("plugin.failed", plugin=plugin.name, package=plugin.package, error=str(error))
    return specs


@dataclass
class Realization:
    """What a loaded backend offers for its model: the truth behind `available_traits`."""

    known: dict[str, Trait] = field(default_factory=dict)  # every installed trait
    traits: dict[str, Trait] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)  # for installed traits it does not offer
    calls: dict[str, type[Call]] = field(default_factory=dict)
    routes: dict[type[Command], Callable[[Sequence[Any]], Sequence[Any] | None]] = field(default_factory=dict)
    answers: dict[type[Query], Callable[[Any], Any]] = field(default_factory=dict)

    def require(self, traits: Iterable[str], who: str, model: str) -> None:
        """Raise one `TraitError` that tells all: what is needed, what there is, which package would help."""
        missing = [name for name in traits if name not in self.traits]
        if missing:
            raise TraitError(
                f"{who} needs {', '.join(sorted(missing))}, which model {model!r} does not have (it has: "
                f"{', '.join(self.traits) or 'none'}). {' '.join(self._help(name) for name in missing)}"
            )

    def _help(self, name: str) -> str:
        if name in self.reasons:
            return f"{name}: {self.reasons[name]}."
        near = nearest(name, self.traits)
        return f"{name} is not installed{near if 'did you mean' in near else ''}; {install_hint('traits', name)}."


def realize(registry: Registry, specs: Sequence[HandlerSpec], backend_name: str, backend: Backend) -> Realization:
    """Build the handlers and keep the traits that stand with all their supertraits."""
    realization = Realization(known=dict(registry.traits), reasons=dict(registry.problems))
    handlers: dict[str, object] = {}
    for name, trait in registry.traits.items():
        try:
            handlers[name] = _build(trait, specs, backend_name, backend)
        except UnsupportedError as error:
            realization.reasons[name] = str(error)
    _drop_unsupported(registry, handlers, realization)
    for name, handler in handlers.items():
        realization.traits[name] = registry.traits[name]
        _resolve(registry.traits[name], handler, realization)
    return realization


def _build(trait: Trait, specs: Sequence[HandlerSpec], backend_name: str, backend: Backend) -> object:
    versions = []
    for spec in specs:
        requirement = Requirement(spec.trait)
        if requirement.name != trait.name:
            continue
        if requirement.specifier.contains(trait.version, prereleases=True):
            return spec.build(backend)
        versions.append(str(requirement.specifier))
    if versions:
        raise UnsupportedError(f"backend {backend_name!r} handles versions {', '.join(versions)}, not {trait.version}")
    if not any(issubclass(call, Command | Query) for call in trait.calls):
        return object()  # nothing for a backend to do
    raise UnsupportedError(f"backend {backend_name!r} has no handler for it")


def _drop_unsupported(registry: Registry, handlers: dict[str, object], realization: Realization) -> None:
    while lacking := {
        name: base for name in handlers for base in registry.traits[name].supertraits if base not in handlers
    }:
        for name, base in lacking.items():
            realization.reasons[name] = f"its supertrait {base!r} is not available"
            del handlers[name]


def _resolve(trait: Trait, handler: object, realization: Realization) -> None:
    for call in trait.calls:
        name = call.signature().name
        realization.calls[name] = call
        if not issubclass(call, Command | Query):
            continue
        method = getattr(handler, name, None)
        if method is None:
            raise PluginError(f"handler {type(handler).__qualname__} of trait {trait.name!r} has no method {name!r}")
        if issubclass(call, Command):
            realization.routes[call] = method
        else:
            realization.answers[call] = method
