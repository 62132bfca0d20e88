"""`pie-core wit`: the interfaces of the installed traits, for programs in any language."""

from __future__ import annotations

from pathlib import Path

import click

from pie_core.cli.command import PieCommand
from pie_core.cli.options import selection, selection_options


@click.command(cls=PieCommand)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default="wit")
@click.option("--world", "name", metavar="NAME", default="inferlet", show_default=True, help="What to call the world.")
@selection_options
def wit(directory: Path, name: str, without: tuple[str, ...], prefer: tuple[str, ...]) -> None:
    """Write the WIT of the installed traits to DIRECTORY (default: wit) and print the files.

    The world imports all of them; take out of it what your program does not use. No backend is loaded.
    """
    from pie_core.application.runtime import RUNTIME
    from pie_core.application.wasm.wit import write
    from pie_core.registry import load_registry

    registry = load_registry(selection(without, prefer), reserved=dict.fromkeys(RUNTIME.signatures, RUNTIME.name))
    for path in write(directory, registry.traits.values(), name):
        click.echo(path)
