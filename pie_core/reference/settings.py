"""The pages of settings: limits, and the options of backends and policies."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pie_core.application.limits import Limits
from pie_core.control.policy import PolicySpec
from pie_core.inference.backend import BackendSpec
from pie_core.plugins import Kind, Selection, discover, load, select
from pie_core.reference.described import described, of_fields, shown
from pie_core.reference.markdown import code, page, table

_FLAGS: dict[Kind, str] = {"backends": "--option", "dispatch": "--dispatch-option", "contention": "--contention-option"}
_TITLES: dict[Kind, str] = {"backends": "Backend", "dispatch": "Dispatch policy", "contention": "Contention policy"}


def limits_page() -> str:
    """What `--limit NAME=VALUE` sets."""
    return page("Limits", "Of `--limit NAME=VALUE`.", _settings(Limits, "limit"))


def options_page() -> str:
    """What backends and policies take."""
    return page("Options of backends and policies", *(part for kind in _FLAGS for part in _kind(kind)))


def _kind(kind: Kind) -> Iterable[str]:
    for plugin in select(discover(kind), Selection()):
        spec: BackendSpec | PolicySpec = load(plugin)
        yield f"## {_TITLES[kind]} `{spec.name}`"
        yield f"{described(str(plugin), spec.doc)} Package `{plugin.package}`."
        if spec.options.__struct_fields__:
            yield f"With `{_FLAGS[kind]} NAME=VALUE`:"
            yield _settings(spec.options, "option")


def _settings(struct: type[msgspec.Struct], title: str) -> str:
    texts = of_fields(struct)
    defaults = struct()
    rows = [(code(name), code(shown(getattr(defaults, name), name)), text) for name, text in texts.items()]
    return table([title, "default", ""], rows)
