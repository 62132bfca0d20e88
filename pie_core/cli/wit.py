"""`pie-core wit`: the interfaces of the installed traits, for programs in any language."""

from __future__ import annotations

from pathlib import Path

import click

from pie_core.cli.command import PieCommand
from pie_core.cli.options import selection, selection_options


@click.command(cls=PieCommand)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default="wit")
@click.option("--world", "name", metavar="NAME", default="inferlet", show_default=True, help="What to call the world.")
@click.option(
    "--c-header", "header", type=click.Path(path_type=Path, dir_okay=False), help="Write this C header instead."
)
@click.option("--trait", "traits", multiple=True, metavar="NAME", help="Only these, and the traits they build on.")
@selection_options
def wit(
    directory: Path,
    name: str,
    header: Path | None,
    traits: tuple[str, ...],
    without: tuple[str, ...],
    prefer: tuple[str, ...],
) -> None:
    """Write the WIT of the installed traits to DIRECTORY (default: wit) and print the files.

    The world imports all of them: name those that your program uses with --trait. No backend is loaded.
    """
    from pie_core.application.runtime import RUNTIME
    from pie_core.application.wasm.wit import write, write_text
    from pie_core.registry import load_registry, with_supertraits

    registry = load_registry(selection(without, prefer), reserved=dict.fromkeys(RUNTIME.signatures, RUNTIME.name))
    chosen = with_supertraits(traits, registry.traits, "--trait") if traits else list(registry.traits.values())
    if header is not None:
        from pie_core.application.wasm.c_header import c_header

        write_text(header, c_header(chosen))
        click.echo(header)
        return
    for path in write(directory, chosen, name):
        click.echo(path)
