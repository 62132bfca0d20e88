"""Plugins in three plain steps: discover (metadata only), select, load.

pluggy checks and calls the hooks; finding them is done here, because one plugin that fails to import must not stop the
rest and two packages with one name must be an error that names both.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata, resources
from typing import Any, Literal

import pluggy
from packaging.utils import canonicalize_name

from pie_core.errors import PluginError, nearest
from pie_core.hookspecs import PROJECT, Hooks
from pie_core.version import API_VERSION, __version__

Kind = Literal[
    "traits",
    "backends",
    "handlers",
    "models",
    "inferlets",
    "interpreters",
    "dispatch",
    "contention",
    "routes",
    "suites",
]

HOOKS: dict[Kind, str] = {
    "traits": "pie_trait",
    "backends": "pie_backend",
    "handlers": "pie_handlers",
    "models": "pie_model",
    "inferlets": "pie_programs",
    "interpreters": "pie_interpreters",
    "dispatch": "pie_dispatch",
    "contention": "pie_contention",
    "routes": "pie_routes",
    "suites": "pie_suite",
}


API_GROUP = f"{PROJECT}.api"
"""A package says here which numbers of the plugin interface it was written for: they are the names in this group."""

UNSAID = ("1",)  # what a package was written for that does not say


@dataclass(frozen=True)
class Plugin:
    """One entry point, as the metadata tells it; nothing was imported."""

    kind: Kind
    name: str
    package: str
    version: str
    target: str
    entry_point: metadata.EntryPoint = field(repr=False, compare=False)
    api: tuple[str, ...] = UNSAID

    def __str__(self) -> str:
        return f"{self.kind} plugin {self.name!r} of package {self.package} {self.version}"

    @property
    def misfit(self) -> str | None:
        """Why it cannot be used by this pie-core, if it was written for another one."""
        if str(API_VERSION) in self.api:
            return None
        return (
            f"{self} was written for plugin interface {' or '.join(self.api)}, and pie-core {__version__} has "
            f"{API_VERSION}. Install versions that fit (pip install --upgrade pie-core {self.package}) or leave it out "
            f"(--without {self.kind}.{self.name})"
        )


@dataclass(frozen=True)
class Selection:
    """What the user said about plugins: leave some out ("traits.tokenize"), let some packages win a clash of names."""

    without: frozenset[str] = frozenset()
    prefer: tuple[str, ...] = ()


def group(kind: Kind) -> str:
    """The entry-point group of a kind of plugin."""
    return f"{PROJECT}.{kind}"


def discover(kind: Kind) -> list[Plugin]:
    """Every installed plugin of a kind, sorted by name and package. Imports nothing."""
    found: dict[tuple[str, str], Plugin] = {}
    for dist in metadata.distributions():
        for point in dist.entry_points.select(group=group(kind)):
            plugin = Plugin(kind, point.name, dist.name, dist.version, point.value, point, _api_of(dist))
            found.setdefault((plugin.name, plugin.package), plugin)  # the first on the path is the one imported
    return [found[key] for key in sorted(found)]


def select(plugins: Sequence[Plugin], selection: Selection) -> list[Plugin]:
    """Those to use, one for each name. Two packages with one name are an error unless one is preferred."""
    chosen: dict[str, Plugin] = {}
    for plugin in plugins:
        if f"{plugin.kind}.{plugin.name}" in selection.without:
            continue
        rival = chosen.get(plugin.name)
        chosen[plugin.name] = plugin if rival is None else _prefer(rival, plugin, selection.prefer)
    return list(chosen.values())


def select_named(kind: Kind, name: str, selection: Selection) -> Plugin:
    """The plugin that the user named. Unknown: an error with the nearest names and the line that would bring it."""
    plugins = discover(kind)
    for plugin in select([plugin for plugin in plugins if plugin.name == name], selection):
        return plugin
    known = [plugin.name for plugin in plugins]
    raise PluginError(f"no {kind} plugin is named {name!r}{nearest(name, known)}. {install_hint(kind, name)}")


def load(plugin: Plugin) -> Any:
    """Import a plugin and return what its hook registers. Any failure is a `PluginError` with the cause behind it."""
    if plugin.misfit is not None:
        raise PluginError(plugin.misfit)
    try:
        module = plugin.entry_point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{plugin} cannot be imported from {plugin.target!r}: {type(error).__name__}: {error}. "
            f"Repair it (pip install --force-reinstall {plugin.package}) or leave it out "
            f"(--without {plugin.kind}.{plugin.name})"
        ) from error
    return _call_hook(plugin, module)


def install_hint(kind: Kind, name: str | None = None) -> str:
    """The pip line that would bring a plugin, known or by the naming convention; without a name, any of its kind."""
    catalog = tomllib.loads(resources.files("pie_core").joinpath("catalog.toml").read_text("utf-8"))
    known: dict[str, str] = catalog.get(kind, {})
    if name is None:
        name = next(iter(known), "NAME")
    package = known.get(name)
    if package is not None:
        return f"`pip install {package}` brings it"
    return f"Packages of this kind are usually named pie-{kind.removesuffix('s')}-{name.replace('_', '-')}"


def preferred(rivals: Sequence[Plugin], prefer: Iterable[str]) -> Plugin | None:
    """That of the package which is preferred most, if any of them is."""
    for package in prefer:
        for candidate in rivals:
            if canonicalize_name(candidate.package) == canonicalize_name(package):
                return candidate
    return None


def _api_of(dist: metadata.Distribution) -> tuple[str, ...]:
    return tuple(sorted({point.name for point in dist.entry_points.select(group=API_GROUP)})) or UNSAID


def _prefer(rival: Plugin, plugin: Plugin, prefer: Iterable[str]) -> Plugin:
    if (chosen := preferred((rival, plugin), prefer)) is not None:
        return chosen
    raise PluginError(
        f"two packages bring {plugin.kind} plugin {plugin.name!r}: {rival.package} {rival.version} and "
        f"{plugin.package} {plugin.version}. Choose one with --prefer {plugin.package}, or uninstall the other"
    )


def _call_hook(plugin: Plugin, module: Any) -> Any:
    hook = HOOKS[plugin.kind]
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    try:
        manager.register(module)
        manager.check_pending()
        results = getattr(manager.hook, hook)()
    except Exception as error:
        raise PluginError(f"{plugin} does not register: {type(error).__name__}: {error}") from error
    if len(results) != 1:
        raise PluginError(f"{plugin}: module {plugin.target!r} implements no hook `{hook}`")
    return results[0]
