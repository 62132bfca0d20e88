"""`pie-core ps` and `pie-core stop`: look after the inferlets of a running server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
import msgspec

from pie_core.cli.command import PieCommand
from pie_core.cli.table import table
from pie_core.errors import ArgumentError
from pie_core.server.address import DEFAULT_URL

F = TypeVar("F", bound=Callable[..., Any])


def server_option(function: F) -> F:
    """`--server`."""
    return click.option(
        "--server", metavar="URL", envvar="PIE_SERVER", default=DEFAULT_URL, show_default=True, show_envvar=True,
        help="The server.",
    )(function)  # fmt: skip


def key_option(function: F) -> F:
    """`--key`."""
    return click.option(
        "--key", "api_key", metavar="KEY", envvar="PIE_API_KEY", show_envvar=True,
        help="The key of a user, if the server needs one. Others on this machine see what is on a command line: the "
        "variable is better.",
    )(function)  # fmt: skip


@click.command(cls=PieCommand)
@server_option
@key_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ps(server: str, api_key: str | None, as_json: bool) -> None:
    """List the inferlets that run on a server, oldest first."""
    inferlets = asyncio.run(_list(server, api_key))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(inferlets)))
        return
    click.echo(table(["ID", "PROGRAM", "USER", "STATUS", "SECONDS", "HOLDS"], [_cells(facts) for facts in inferlets]))


@click.command(cls=PieCommand)
@click.argument("ids", nargs=-1, required=True)
@server_option
@key_option
@click.pass_context
def stop(context: click.Context, /, ids: tuple[str, ...], server: str, api_key: str | None) -> None:
    """Stop the inferlets with these IDS on a server."""
    errors = asyncio.run(_stop(server, api_key, ids))
    for error in errors:
        click.echo(f"Error: {error}", err=True)
    context.exit(1 if errors else 0)


async def _list(server: str, api_key: str | None) -> list[dict[str, Any]]:
    from pie_core.client import Client

    async with Client(server, api_key) as client:
        return await client.list()


async def _stop(server: str, api_key: str | None, ids: Sequence[str]) -> list[ArgumentError]:
    from pie_core.client import Client

    errors = []
    async with Client(server, api_key) as client:
        for instance_id in ids:
            try:
                await client.stop(instance_id, "stopped by `pie-core stop`")
            except ArgumentError as error:
                errors.append(error)
    return errors


def _cells(facts: Mapping[str, Any]) -> list[str]:
    holds = ", ".join(
        _held(kind, count, facts["unbound"][kind]) for kind, count in sorted(facts["held"].items()) if count
    )
    return [facts["id"], facts["program"], facts["user"], facts["status"], f"{facts['seconds']:.1f}", holds or "-"]


def _held(kind: str, count: int, unbound: int) -> str:
    return f"{count} {kind}" + (f" ({unbound} waiting or swapped)" if unbound else "")
