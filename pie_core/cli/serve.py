"""`pie-core serve`: load a model and let clients launch programs beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from pie_core.cli.command import ServingCommand
from pie_core.cli.keys import open_keyring
from pie_core.cli.options import KEYS, core_options, quota_options, settings
from pie_core.cli.process import allow_many_connections, keep_freed_memory, spare_what_is_loaded
from pie_core.cli.setting import SettingArgument, setting
from pie_core.server.address import DEFAULT_HOST, DEFAULT_PORT, check_anonymous, check_trust, listen


@click.command(cls=ServingCommand)
@click.argument("model", required=False, cls=SettingArgument)
@setting("--host", default=DEFAULT_HOST, show_default=True, help="The address to listen on.")
@setting("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@KEYS
@setting("--anonymous/--no-anonymous", help="Let other machines connect although there are no keys.")
@setting(
    "--trust-programs/--no-trust-programs",
    help="With --native: let other machines connect although programs are not isolated.",
)
@setting(
    "--drain",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="After SIGTERM, how long what runs may go on.",
)
@quota_options
@core_options
def serve(
    model: str | None,
    host: str,
    port: int,
    keys: Path | None,
    anonymous: bool,
    trust_programs: bool,
    drain: float,
    **core: Any,
) -> None:
    """Serve MODEL, a model plugin or a checkpoint directory (default: the only one installed, or the default one).

    Ctrl-C stops the inferlets, tells their clients and ends with exit code 0; SIGTERM lets them end first; a second
    signal ends at once. Every setting can be in a file, too, or in a variable: see `pie-core config show`.
    """
    check_trust(host, trust_programs or not core["native"])
    chosen = settings(model, **core)
    keyring = open_keyring(keys, core["state_dir"])
    check_anonymous(host, anonymous or trust_programs or keyring.needed)
    with listen(host, port) as listener:
        from pie_core.cli.progress import LoadingProgress
        from pie_core.server.access import Access
        from pie_core.server.serve import serve as serve_until_stopped

        progress = LoadingProgress()

        def announce(url: str, name: str) -> None:
            progress.done()
            spare_what_is_loaded()
            click.echo(f"pie-core serves {name} at {url}")

        allow_many_connections()
        keep_freed_memory()
        asyncio.run(serve_until_stopped(chosen, listener, progress, announce, drain, Access(keyring)))
