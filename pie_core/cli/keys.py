"""`pie-core keys`: who may use a server. A server that runs notices every change."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from pie_core.cli.command import PieCommand
from pie_core.cli.options import KEYS, STATE_DIR
from pie_core.cli.setting import config_option
from pie_core.cli.table import table
from pie_core.errors import ConfigError

if TYPE_CHECKING:
    from pie_core.server.keys import Key, KeyFile, Keyring

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def _moment(context: click.Context, option: click.Parameter, value: str | None) -> datetime | None:
    """A date, a date and time (UTC unless it says otherwise), or a time from now, such as 30d."""
    if value is None:
        return None
    if found := re.fullmatch(r"(\d{1,6})([mhd])", value):
        return datetime.now(UTC).replace(microsecond=0) + int(found[1]) * _UNITS[found[2]]
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no time; write 30d, 12h, 45m, 2027-01-31 or 2027-01-31T12:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.group()
def keys() -> None:
    """Say who may use a server: a key for each user, or several."""


def keys_options(function: F) -> F:
    """Which file it is about, as for `serve`."""
    for option in (config_option, STATE_DIR, KEYS):
        function = option(function)
    return function


@keys.command(cls=PieCommand)
@click.argument("user")
@click.option("--note", default="", help="What it is for; shown by `keys list`.")
@click.option("--expires", callback=_moment, metavar="WHEN", help="30d, 12h, 45m, or a date such as 2027-01-31.")
@click.option("--operator", is_flag=True, help="May see and stop everybody's inferlets, and read /metrics.")
@keys_options
def add(
    user: str, note: str, expires: datetime | None, operator: bool, keys: Path | None, state_dir: Path | None
) -> None:
    """Make a key for USER and print it. It is shown this once, and kept nowhere."""
    file = key_file(keys, state_dir)
    key, text = file.add(user, note, expires, operator)
    click.echo(text)
    click.echo(f"key {key.id} of user {user}, in {file.path}; it is not shown again", err=True)


@keys.command("list", cls=PieCommand)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@keys_options
def list_keys(as_json: bool, keys: Path | None, state_dir: Path | None) -> None:
    """List the keys, without what makes them good."""
    found = key_file(keys, state_dir).read()
    if as_json:
        shown = [
            {name: value for name, value in msgspec.structs.asdict(key).items() if name != "sha256"} for key in found
        ]
        click.echo(msgspec.json.format(msgspec.json.encode(shown)))
        return
    click.echo(table(["ID", "USER", "CREATED", "EXPIRES", "OPERATOR", "NOTE"], [_cells(key) for key in found]))


@keys.command(cls=PieCommand)
@click.argument("key_id", metavar="ID")
@keys_options
def remove(key_id: str, keys: Path | None, state_dir: Path | None) -> None:
    """Make the key with this ID useless, at once."""
    removed = key_file(keys, state_dir).remove(key_id)
    click.echo(f"removed key {removed.id} of user {removed.user}", err=True)


def key_file(path: Path | None, state_dir: Path | None) -> KeyFile:
    """The file that the options name."""
    from pie_core.application.store.store import default_directory
    from pie_core.server.keys import FILE, KeyFile

    return KeyFile(path or (state_dir or default_directory()) / FILE)


def open_keyring(path: Path | None, state_dir: Path | None) -> Keyring:
    """The keys of a server. Raises `ConfigError`; a file that is named and is not there would let everybody in."""
    from pie_core.server.keys import Keyring

    if path is not None and not path.exists():
        raise ConfigError(f"--keys {path}: there is no such file; `pie-core keys add USER --keys {path}` makes it")
    return Keyring(key_file(path, state_dir))


def _cells(key: Key) -> list[str]:
    expires = "never" if key.expires is None else f"{key.expires:%Y-%m-%d %H:%M}"
    return [key.id, key.user, f"{key.created:%Y-%m-%d %H:%M}", expires, "yes" if key.operator else "no", key.note]
