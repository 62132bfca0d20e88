"""`pie-core build`: a program and all it imports as one WebAssembly component."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

from pie_core.cli.command import PieCommand
from pie_core.cli.options import selection, selection_options


@click.command(cls=PieCommand)
@click.argument("program")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The component to write.  [default: PROGRAM with .wasm, here]",
)
@click.option("--with", "packages", multiple=True, metavar="NAME", help="Bundle an installed pure-Python package.")
@selection_options
def build(
    program: str,
    output: Path | None,
    packages: tuple[str, ...],
    without: tuple[str, ...],
    prefer: tuple[str, ...],
) -> None:
    """Build a component from PROGRAM (a .py file or an installed program), about 15 s; print its path.

    It imports the interfaces of all installed traits (but for `--without`), and runs on servers that have them.
    """
    from pie_core.application.program import find_program
    from pie_core.application.runtime import RUNTIME
    from pie_core.application.wasm.interpreter import build_program
    from pie_core.registry import load_registry

    chosen = selection(without, prefer)
    found = find_program(program, chosen)
    registry = load_registry(chosen, reserved=dict.fromkeys(RUNTIME.signatures, RUNTIME.name))
    target = output or Path(f"{found.name}.wasm")
    with tempfile.TemporaryDirectory(prefix="pie-build-") as directory:
        made = build_program(found, registry.traits.values(), Path(directory), packages, _show)
        shutil.copyfile(made, target)
    click.echo(target)


def _show(text: str) -> None:
    click.echo(text, err=True)
