"""Which traits a loaded plugin brings or realizes, for people who look at a list of plugins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pie_core.errors import PluginError
from pie_core.inference.backend import ANY, HandlerSpec
from pie_core.plugins import Plugin, load
from pie_core.testing.conformance import TraitSuite
from pie_core.trait import Trait


def traits_by_plugin(loaded: Mapping[Plugin, object], handlers: Iterable[Plugin]) -> dict[Plugin, list[str]]:
    """The names for each plugin that has to do with traits, by what its hook gave.

    handlers: all that are installed, by which a backend has its traits; one that fails to load realizes none.
    """
    realized = {plugin: _realized(plugin, loaded) for plugin in handlers}
    return {
        plugin: sorted(names)
        for plugin, record in loaded.items()
        if (names := _of_backend(plugin, realized) if plugin.kind == "backends" else _of(record))
    }


def _of(record: object) -> set[str]:
    if isinstance(record, Trait):
        return {record.name}
    if isinstance(record, type) and issubclass(record, TraitSuite):
        return {record.trait.name}
    if isinstance(record, Sequence):
        return {spec.trait_name for spec in record if isinstance(spec, HandlerSpec)}
    return set()


def _realized(plugin: Plugin, loaded: Mapping[Plugin, object]) -> set[str]:
    try:
        return _of(loaded[plugin] if plugin in loaded else load(plugin))
    except PluginError:
        return set()


def _of_backend(backend: Plugin, realized: Mapping[Plugin, set[str]]) -> set[str]:
    wanted = (backend.name, ANY)
    return {name for plugin, names in realized.items() if plugin.name.partition(".")[0] in wanted for name in names}
