"""Traits by name and version, and which of them a loaded backend really realizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from pie_core.command import Call, Command, ControlCall, Query, call_name
from pie_core.errors import PluginError, TraitError, UnsupportedError, nearest
from pie_core.inference.backend import ANY, Backend, Foundation, HandlerSpec
from pie_core.inference.staging import Stage, StageMethod, stage_route
from pie_core.inference.stepping import Ride
from pie_core.inference.swapping import swap_routes
from pie_core.plugins import Plugin, Selection, discover, install_hint, load, select
from pie_core.resource import HostResource, Resource
from pie_core.trait import Trait

log = structlog.get_logger(__name__)


class Registry:
    """The installed traits. Two traits that declare a call of one name are an error that names both.

    `reserved` are call names that no trait may declare, by whom they belong to.
    """

    def __init__(
        self,
        traits: Iterable[Trait],
        problems: Mapping[str, str] | None = None,
        reserved: Mapping[str, str] | None = None,
        left_out: Iterable[str] = (),
    ) -> None:
        """left_out: those of `problems` that somebody chose to do without."""
        self.traits: dict[str, Trait] = {}
        self._left_out = set(left_out)
        self.problems: dict[str, str] = dict(problems or {})  # trait or plugin -> why it cannot be used
        owner: dict[str, str] = dict(reserved or {})
        for trait in traits:
            for call in trait.calls:
                name = call.signature().name
                if name in owner:
                    raise PluginError(f"traits {owner[name]!r} and {trait.name!r} both declare the call {name!r}")
                if not issubclass(call, Command | Query | ControlCall):
                    raise PluginError(f"trait {trait.name!r}: {name!r} is neither a Command, a Query nor a ControlCall")
                owner[name] = trait.name
            self.traits[trait.name] = trait
        self._drop_unsupported()
        for trait in self.traits.values():
            self._check_company(trait)

    def _check_company(self, trait: Trait) -> None:
        """What a command batches with must be there whenever the command is."""
        below = [call for base in with_supertraits([trait.name], self.traits, "") for call in base.calls]
        for call in trait.calls:
            if issubclass(call, Command) and call.batch_kind() not in below:
                raise PluginError(
                    f"trait {trait.name!r}: {call_name(call)} batches with {call_name(call.batch_kind())}, which is a "
                    "command of none of its supertraits; name its trait in `requires`"
                )

    def _drop_unsupported(self) -> None:
        """Set aside traits whose supertraits are missing or of another version, until all that is left can stand."""
        while missing := {
            trait.name: reason for trait in self.traits.values() if (reason := self._missing_supertrait(trait))
        }:
            for name, reason in missing.items():
                if not self._left_out.isdisjoint(self.traits[name].supertraits):
                    self._left_out.add(name)  # it goes with what was left out: chosen, too
                else:
                    log.warning("trait.unusable", trait=name, reason=reason)
                self.problems[name] = reason
                del self.traits[name]

    def _missing_supertrait(self, trait: Trait) -> str | None:
        for requirement in trait.supertraits.values():
            base = self.traits.get(requirement.name)
            if base is None:
                why = self.problems.get(requirement.name)
                return f"its supertrait {requirement.name!r} " + (f"is unusable: {why}" if why else "is not installed")
            if not requirement.specifier.contains(base.version, prereleases=True):
                return f"its supertrait {requirement} is wanted, {base.version} is installed"
        return None


def load_registry(selection: Selection, reserved: Mapping[str, str] | None = None) -> Registry:
    """Load every installed trait. One that fails is a warning, and a reason for whoever asks for it."""
    traits, problems = [], {}
    found = discover("traits")
    left_out = [plugin.name for plugin in found if f"traits.{plugin.name}" in selection.without]
    for name in left_out:
        problems[name] = f"it was left out (--without traits.{name})"
    for plugin in select(found, selection):
        try:
            traits.append(_load_trait(plugin))
        except PluginError as error:
            log.warning("plugin.failed", plugin=plugin.name, package=plugin.package, error=str(error))
            problems[plugin.name] = str(error)
    return Registry(traits, problems, reserved, left_out)


def _load_trait(plugin: Plugin) -> Trait:
    trait = load(plugin)
    if not isinstance(trait, Trait):
        raise PluginError(f"{plugin} registers a {type(trait).__name__}, not a Trait")
    if trait.name != plugin.name:
        raise PluginError(f"{plugin} registers a trait named {trait.name!r}; entry point and trait must agree")
    return trait


def load_handlers(backend: str, package: str, selection: Selection) -> list[HandlerSpec]:
    """The handlers for a backend, and for any, of every installed package; its own (`package`) must load."""
    specs: list[HandlerSpec] = []
    found = [plugin for plugin in discover("handlers") if plugin.name.partition(".")[0] in (backend, ANY)]
    for plugin in select(found, selection):
        try:
            loaded = _load_handlers(plugin, plugin.name.partition(".")[0])
        except PluginError as error:
            if plugin.package == package:
                raise
            log.warning("plugin.failed", plugin=plugin.name, package=plugin.package, error=str(error))
        else:
            own = plugin.package == package
            specs += [replace(spec, package=plugin.package, optional=not own) for spec in loaded]
    return _prefer(specs, selection.prefer)


def _load_handlers(plugin: Plugin, backend: str) -> Sequence[HandlerSpec]:
    specs = load(plugin)
    if not isinstance(specs, Sequence) or not all(isinstance(spec, HandlerSpec) for spec in specs):
        raise PluginError(f"{plugin} registers {specs!r:.60}, not a list of HandlerSpecs")
    for spec in specs:
        if spec.backend != backend:
            raise PluginError(f"{plugin} registers handlers for backend {spec.backend!r}, not {backend!r}")
    return specs


def _prefer(specs: Sequence[HandlerSpec], prefer: Iterable[str]) -> list[HandlerSpec]:
    """Without the handlers of traits for which a preferred package has some too."""
    chosen = list(specs)
    for package in reversed(list(prefer)):
        mine = {spec.trait_name for spec in chosen if spec.package == package}
        chosen = [spec for spec in chosen if spec.package == package or spec.trait_name not in mine]
    return chosen


@dataclass
class Realization:
    """What a loaded backend offers for its model: the truth behind `available_traits`."""

    known: dict[str, Trait] = field(default_factory=dict)  # every installed trait
    traits: dict[str, Trait] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)  # for installed traits it does not offer
    calls: dict[str, type[Call]] = field(default_factory=dict)
    routes: dict[type[Command], Callable[[Sequence[Any]], Sequence[Any] | None]] = field(default_factory=dict)
    answers: dict[type[Query], Callable[[Any], Any]] = field(default_factory=dict)
    stages: dict[type[Command], StageMethod] = field(default_factory=dict)  # of commands that are staged
    rides: dict[type[Command], Ride] = field(default_factory=dict)
    capacity: dict[type[Resource], int] = field(default_factory=dict)  # the backend's pools and those of the host
    closers: list[Callable[[], object]] = field(default_factory=list)  # of handlers that hold something
    cold: dict[str, Callable[[], object]] = field(default_factory=dict)  # by trait: `warm_up`s still to be called

    def close(self) -> None:
        """Have the handlers let go of what they hold."""
        for close in self.closers:
            close()

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


def with_supertraits(names: Iterable[str], installed: Mapping[str, Trait], who: str) -> list[Trait]:
    """The traits of these names and all they build on, in the order of `installed`.

    Raises `TraitError` for one that is not installed.
    """
    wanted, found = list(names), set()
    while wanted:
        name = wanted.pop()
        if name not in installed:
            hint = f"{nearest(name, installed)}; {install_hint('traits', name)}"
            raise TraitError(f"{who}: trait {name} is not installed{hint}")
        if name not in found:
            found.add(name)
            wanted += installed[name].supertraits
    return [trait for name, trait in installed.items() if name in found]


def realize(registry: Registry, specs: Sequence[HandlerSpec], backend_name: str, backend: Backend) -> Realization:
    """Build the handlers and keep the traits that stand with all their supertraits."""
    realization = Realization(known=dict(registry.traits), reasons=dict(registry.problems))
    handlers: dict[str, object] = {}
    for trait in _from_the_ground_up(registry):
        try:
            handlers[trait.name] = _build(trait, specs, backend_name, Foundation(backend, handlers))
        except UnsupportedError as error:
            realization.reasons[trait.name] = str(error)
    realization.capacity |= backend.capacity
    for name, trait in registry.traits.items():
        if name in handlers:
            realization.traits[name] = trait
            _resolve(trait, handlers[name], realization)
    if realization.stages:
        realization.routes[Stage] = stage_route(realization.stages)
    if backend.swapper is not None:
        realization.routes |= swap_routes(backend.swapper)
    return realization


def _from_the_ground_up(registry: Registry) -> list[Trait]:
    """Every trait behind its supertraits."""
    ordered: dict[str, Trait] = {}

    def add(trait: Trait) -> None:
        for base in trait.supertraits:
            if base not in ordered:
                add(registry.traits[base])
        ordered[trait.name] = trait

    for trait in registry.traits.values():
        add(trait)
    return list(ordered.values())


def _build(trait: Trait, specs: Sequence[HandlerSpec], backend_name: str, ground: Foundation) -> object:
    """The handler of a trait whose supertraits have theirs in `ground`, if they can be had."""
    for base in trait.supertraits:
        if base not in ground.handlers:
            raise UnsupportedError(f"its supertrait {base!r} is not available")
    for resource in trait.resources:
        if resource not in ground.backend.capacity and not issubclass(resource, HostResource):
            raise UnsupportedError(f"backend {backend_name!r} has no pool of {resource.kind}s")
    written = [spec for spec in specs if spec.trait_name == trait.name]
    for backend in (backend_name, ANY):
        fitting = [spec for spec in written if spec.backend == backend and spec.handles(trait.version)]
        if len({spec.package for spec in fitting}) > 1:
            packages = sorted(spec.package for spec in fitting)
            raise PluginError(
                f"packages {' and '.join(packages)} both bring handlers of trait {trait.name!r} for backend "
                f"{backend!r}; choose one with --prefer {packages[0]}, or uninstall the other"
            )
        if fitting:
            return _build_one(fitting[0], trait, ground)
    if written:
        versions = ", ".join(spec.trait.removeprefix(trait.name) for spec in written)
        raise UnsupportedError(f"backend {backend_name!r} handles versions {versions}, not {trait.version}")
    if not any(issubclass(call, Command | Query) for call in trait.calls):
        return object()  # nothing for a backend to do
    raise UnsupportedError(f"backend {backend_name!r} has no handler for it")


def _build_one(spec: HandlerSpec, trait: Trait, ground: Foundation) -> object:
    """A handler with all its methods. What is wrong with a stranger's costs its trait, not the start."""
    try:
        handler = spec.build(ground if spec.backend == ANY else ground.backend)
        _check_methods(trait, handler)
    except UnsupportedError:
        raise
    except Exception as error:
        what = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        message = f"the handler of trait {trait.name!r} for backend {spec.backend!r} cannot be made: {what}"
        if not spec.optional:
            raise PluginError(message) from error
        log.warning("handler.failed", trait=trait.name, package=spec.package, error=what)
        raise UnsupportedError(f"{message} (package {spec.package})") from error
    return handler


def _check_methods(trait: Trait, handler: object) -> None:
    for call in trait.calls:
        name = call.signature().name
        if issubclass(call, Command | Query) and not callable(getattr(handler, name, None)):
            raise PluginError(f"{type(handler).__qualname__} has no method {name!r}")
        if _is_staged(call) and not callable(getattr(handler, f"stage_{name}", None)):
            raise PluginError(f"{type(handler).__qualname__} has no method 'stage_{name}'")


def _is_staged(call: type[Call]) -> bool:
    return issubclass(call, Command) and call.staged


def _resolve(trait: Trait, handler: object, realization: Realization) -> None:
    realization.capacity |= {kind: kind.capacity for kind in trait.resources if issubclass(kind, HostResource)}
    if callable(close := getattr(handler, "close", None)):
        realization.closers.append(close)
    if callable(warm_up := getattr(handler, "warm_up", None)):
        realization.cold[trait.name] = warm_up
    for call in trait.calls:
        name = call.signature().name
        realization.calls[name] = call
        if issubclass(call, Command):
            realization.routes[call] = getattr(handler, name)
            if call.staged:
                realization.stages[call] = getattr(handler, f"stage_{name}")
            if call.rides is not None and call.batches_with is None:
                realization.rides[call] = Ride(
                    call.rides, getattr(handler, f"ride_{name}"), getattr(handler, f"rode_{name}")
                )
        elif issubclass(call, Query):
            realization.answers[call] = getattr(handler, name)
