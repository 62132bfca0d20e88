"""`pie-core plugins`: what is installed, by metadata alone; with `--check` also whether it works as it must."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_args

import click
import msgspec

from pie_core.cli.command import PieCommand
from pie_core.cli.options import selection_options, settings
from pie_core.cli.table import table
from pie_core.errors import PluginError, nearest

if TYPE_CHECKING:
    from pie_core.plugins import Plugin


class Row(msgspec.Struct):
    """One plugin, for people and for programs.

    api: the numbers of the plugin interface that its package was written for. traits: what it brings or realizes; None
    if that is not known without loading it, or of a kind that has to do with none.
    """

    kind: str
    name: str
    package: str
    version: str
    api: tuple[str, ...]
    target: str
    traits: list[str] | None = None
    problem: str | None = None


class CheckingCommand(PieCommand):
    """A command that has handlers fail on purpose: their warnings mean nothing."""

    log_level = "error"


@click.command(cls=CheckingCommand)
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--check", is_flag=True, help="Also try them; exit code 1 if there is a problem.")
@click.option(
    "--model",
    metavar="MODEL",
    help="The model to check NAME with.  [default: the only one, or the default among several]",
)
@click.option(
    "--backend",
    metavar="NAME",
    help="The backend to check NAME with.  [default: the only one, or the default among several]",
)
@click.option("-o", "--option", "options", multiple=True, metavar="NAME=VALUE", help="Set an option of the backend.")
@selection_options
@click.pass_context
def plugins(context: click.Context, /, name: str | None, as_json: bool, check: bool, **core: Any) -> None:
    """List the installed plugins, or those called NAME. Without --check none of them is imported.

    --check alone loads each one, and tells the traits that it brings or realizes. With NAME it also runs the quick half
    of the conformance suites that concern it.
    """
    from pie_core.plugins import Kind, discover

    found = [plugin for kind in get_args(Kind) for plugin in discover(kind)]
    if name is not None:
        found = _named(name, found)
    if name is not None and check and not as_json:
        from pie_core.cli import conformance

        context.exit(0 if conformance.check(found, settings(**core)) else 1)
    rows = _checked(found) if check else [_row(plugin, plugin.misfit) for plugin in found]
    clashes = find_clashes(found)
    for row in rows:
        row.problem = clashes.get((row.kind, row.name)) or row.problem
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows)))
    else:
        _print(rows)
    context.exit(1 if check and any(row.problem for row in rows) else 0)


def _named(name: str, plugins: list[Plugin]) -> list[Plugin]:
    named = [plugin for plugin in plugins if plugin.name == name]
    if not named:
        raise PluginError(f"no plugin is named {name!r}{nearest(name, {plugin.name for plugin in plugins})}")
    return named


def find_clashes(plugins: Iterable[Plugin]) -> dict[tuple[str, str], str]:
    """The names that two packages bring, with what to do about it."""
    packages: dict[tuple[str, str], list[str]] = {}
    for plugin in plugins:
        packages.setdefault((plugin.kind, plugin.name), []).append(plugin.package)
    return {
        name: f"brought by {' and '.join(rivals)}; choose one with --prefer {rivals[-1]}, or uninstall the other"
        for name, rivals in packages.items()
        if len(rivals) > 1
    }


def problem_of(plugin: Plugin) -> str | None:
    """Why a plugin cannot be used, found out by loading it."""
    from pie_core.plugins import load

    try:
        load(plugin)
    except PluginError as error:
        return str(error)
    return None


def _checked(plugins: list[Plugin]) -> list[Row]:
    """Each of them loaded."""
    from pie_core.cli.traits import traits_by_plugin
    from pie_core.plugins import discover, load

    loaded: dict[Plugin, object] = {}
    problems: dict[Plugin, str] = {}
    for plugin in plugins:
        try:
            loaded[plugin] = load(plugin)
        except PluginError as error:
            problems[plugin] = str(error)
    traits = traits_by_plugin(loaded, discover("handlers"))
    return [_row(plugin, problems.get(plugin), traits.get(plugin)) for plugin in plugins]


def _row(plugin: Plugin, problem: str | None, traits: list[str] | None = None) -> Row:
    return Row(plugin.kind, plugin.name, plugin.package, plugin.version, plugin.api, plugin.target, traits, problem)


def _print(rows: list[Row]) -> None:
    if not rows:
        click.echo("no plugin is installed; `pip install pie-backend-torch pie-model-pico` is a start", err=True)
        return
    head = ["KIND", "NAME", "PACKAGE", "VERSION", "API"]
    cells = [[row.kind, row.name, row.package, row.version, " ".join(row.api)] for row in rows]
    if any(row.traits for row in rows):
        head.append("TRAITS")
        cells = [[*line, " ".join(row.traits or ())] for line, row in zip(cells, rows, strict=True)]
    click.echo(table(head, cells))
    for row in rows:
        if row.problem is not None:
            click.secho(f"{row.kind}.{row.name}: {row.problem}", err=True, fg="red")
