"""All pages of the reference, by file name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

from pie_core.application.runtime import RUNTIME
from pie_core.errors import ConfigError, PieError
from pie_core.hookspecs import Hooks
from pie_core.plugins import Selection
from pie_core.reference.calls import calls_page
from pie_core.reference.commands import commands_page
from pie_core.reference.described import described, own_doc
from pie_core.reference.markdown import code, page, table
from pie_core.reference.sdk import sdk_page
from pie_core.reference.server import server_page
from pie_core.reference.settings import limits_page, options_page
from pie_core.registry import load_registry


def make_pages() -> dict[str, str]:
    """Raises `PieError` that names a declaration without a description, or a package that cannot be loaded."""
    registry = load_registry(Selection(), reserved=dict.fromkeys(RUNTIME.signatures, RUNTIME.name))
    if registry.problems:
        raise ConfigError(f"packages cannot be described: {registry.problems}")
    pages = {
        "calls.md": calls_page(registry.traits.values()),
        "sdk.md": sdk_page(),
        "commands.md": commands_page(),
        "options.md": options_page(),
        "limits.md": limits_page(),
        "server.md": server_page(),
        "hooks.md": hooks_page(),
        "errors.md": errors_page(),
    }
    return {"README.md": _index(pages)} | pages


def write_pages(pages: Mapping[str, str], directory: Path) -> None:
    """Write them, and remove what is none of them any more."""
    directory.mkdir(parents=True, exist_ok=True)
    for stale in set(directory.glob("*.md")) - {directory / name for name in pages}:
        stale.unlink()
    for name, text in pages.items():
        (directory / name).write_text(text, "utf-8")


def hooks_page() -> str:
    """What a package implements to bring something."""
    hooks = [(name, hook) for name, hook in inspect.getmembers(Hooks, inspect.isfunction)]
    rows = [
        (code(name), code(str(inspect.signature(hook).return_annotation)), described(name, hook.__doc__))
        for name, hook in hooks
    ]
    return page("Hooks", " ".join(own_doc(Hooks).split()), table(["hook", "returns", ""], rows))


def errors_page() -> str:
    """What programs, clients and people get to see."""
    everything = inspect.getmembers(inspect.getmodule(PieError), inspect.isclass)
    classes = [one for _, one in everything if issubclass(one, PieError)]
    rows = [
        (code(one.__name__), code(one.code), code(one.__mro__[1].__name__), described(one.__name__, own_doc(one)))
        for one in classes
    ]
    return page(
        "Errors", "`code` is what clients and other languages match on.", table(["error", "code", "is a", ""], rows)
    )


def _index(pages: Mapping[str, str]) -> str:
    titles = [(f"[{text.splitlines()[0].removeprefix('# ')}]({name})", _first(text)) for name, text in pages.items()]
    return page("Reference", "Written from the declarations of what is installed.", table(["page", ""], titles))


def _first(text: str) -> str:
    return ", ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("## "))
