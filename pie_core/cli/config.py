"""`pie-core config show`: every setting of a server, its value, and who says so."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
import msgspec

from pie_core.cli.command import LOG_LEVEL, ServingCommand
from pie_core.cli.options import settings
from pie_core.cli.serve import serve
from pie_core.cli.setting import TableSetting, entries, origin, settings_of
from pie_core.cli.table import table
from pie_core.errors import PluginError

if TYPE_CHECKING:
    from pie_core.controller import Settings


class Row(msgspec.Struct):
    """One setting."""

    setting: str
    value: Any
    origin: str


@click.group()
def config() -> None:
    """Look at the settings: command line, then environment, then file, then defaults."""


@click.pass_context
def _show(context: click.Context, /, as_json: bool, **given: Any) -> None:
    """Show every setting of `pie-core serve`, its value and its origin. Takes what `serve` takes."""
    chosen = settings(**{name: value for name, value in given.items() if name in _CORE})  # complains of what is wrong
    rows = list(_rows(context, given | {"log_level": context.meta[LOG_LEVEL]}, chosen))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows, enc_hook=str)))
        return
    click.echo(table(["SETTING", "VALUE", "ORIGIN"], [[row.setting, _text(row.value), row.origin] for row in rows]))


_OWN = ("log_level", "debug")  # every command brings these itself
_CORE = frozenset(inspect.signature(settings).parameters)
config.add_command(
    ServingCommand(
        "show",
        params=[
            click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
            *(parameter for parameter in serve.params if parameter.name not in _OWN),
        ],
        callback=_show,
        help=inspect.getdoc(_show),
    )
)


def _rows(context: click.Context, given: Mapping[str, Any], chosen: Settings) -> Iterator[Row]:
    for name, parameter in settings_of(context.command).items():
        if not isinstance(parameter, TableSetting):
            yield Row(name, given[name], origin(context, name))
            continue
        for entry, value in _entries(parameter, entries(given[name], name), chosen).items():
            yield Row(f"{name}.{entry}", value, origin(context, name, entry))


def _entries(parameter: TableSetting, given: Mapping[str, str], chosen: Settings) -> Mapping[str, Any]:
    """All entries of a table, where it is known which there are: those of plugins too, if they are installed."""
    fields = parameter.fields
    if parameter.by_user:
        return {
            name: getattr(chosen.quotas.users[user], quota)
            for name in given
            for user, _, quota in [name.rpartition(".")]
        }
    assert parameter.name is not None
    if fields is None:
        fields = _fields_of_plugin(parameter.name, chosen)
    if fields is None:
        return given
    from pie_core.policies import parse_options

    return msgspec.structs.asdict(parse_options(parameter.name, fields, given, parameter.name))


def _fields_of_plugin(name: str, chosen: Settings) -> type[msgspec.Struct] | None:
    from pie_core.controller import option_fields

    try:
        return option_fields(name, chosen)
    except PluginError:
        return None  # `serve` says what is wrong, and does not get as far as the options


def _text(value: Any) -> str:
    if value is None or value == () or value == []:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
