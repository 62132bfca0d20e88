"""`pie-core run`: one program, in this process or on a server, its messages on the terminal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pie_core.cli.command import PieCommand
from pie_core.cli.options import MODEL, core_options, selection, settings
from pie_core.cli.remote import key_option
from pie_core.cli.setting import from_command_line, settings_of
from pie_core.cli.table import table

if TYPE_CHECKING:
    from pie_core.application.program import Program
    from pie_core.plugins import Selection


class RunCommand(PieCommand):
    """Tells whoever forgets the `--` where the options of the program go."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """See `click.Command.parse_args`."""
        try:
            return super().parse_args(context, arguments)
        except click.NoSuchOption as error:
            hint = f"A flag of the program goes behind `--`: run PROGRAM -- {error.option_name} ..."
            raise click.UsageError(f"{error.format_message()} {hint}", context) from error


@click.command(cls=RunCommand)
@click.argument("program", required=False)
@click.argument("arguments", nargs=-1)
@click.option("--list", "listing", is_flag=True, help="Show the installed programs and end.")
@click.option("--server", metavar="URL", help="Run on this server instead of in this process.")
@key_option
@MODEL
@click.option("-i", "--interactive", is_flag=True, help="Deliver the lines of stdin to the program as messages.")
@click.option(
    "--blob",
    "blob_files",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file, a picture say, for the program's receive_blob(); may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every event as a line of JSON.")
@core_options
@click.pass_context
def run(
    context: click.Context,
    /,
    program: str | None,
    arguments: tuple[str, ...],
    listing: bool,
    server: str | None,
    api_key: str | None,
    model: str | None,
    interactive: bool,
    blob_files: tuple[Path, ...],
    as_json: bool,
    **core: Any,
) -> None:
    """Run PROGRAM, a .py or .wasm file or the name of an installed program; ARGUMENTS for it follow after `--`.

    Exit code: 0 it finished, 1 it failed or could not start, 130 it was interrupted.
    """
    from pie_core.cli.printer import JsonPrinter, Printer
    from pie_core.cli.running import run_here, run_there

    if listing:
        _list_programs(selection(core["without"], core["prefer"]))
        return
    if program is None:
        raise click.UsageError("name a PROGRAM, or see the installed ones with --list", context)
    printer = JsonPrinter() if as_json else Printer()
    blobs = [file.read_bytes() for file in blob_files]
    if server is not None:
        _refuse_core_options(context)
        context.exit(asyncio.run(run_there(server, api_key, program, arguments, blobs, printer, interactive)))
    chosen = settings(model, **core)
    checked = _check(program, arguments, chosen.selection, core["native"])
    context.exit(asyncio.run(run_here(chosen, checked, arguments, blobs, printer, interactive)))


def _check(what: str, arguments: tuple[str, ...], chosen: Selection, native: bool) -> Program:
    """Find a program and its mistakes before a model is loaded for it. Raises `ProgramError`."""
    from pie_core.application.manifest import parse_flags
    from pie_core.application.program import find_program

    program = find_program(what, chosen)
    if native or program.wasm is None:
        program.compile()
    if program.manifest.flags:
        parse_flags(program.manifest, list(arguments), program.name)
    return program


def _refuse_core_options(context: click.Context) -> None:
    for name, parameter in settings_of(context.command).items():
        if name != "log_level" and from_command_line(context, name):
            option = max(parameter.opts, key=len)
            raise click.UsageError(f"{option} is what the server was started with; leave it out with --server", context)


def _list_programs(chosen: Selection) -> None:
    from pie_core.application.program import find_installed, read_program

    found = sorted(find_installed(chosen).items())
    if not found:
        click.echo("no program is installed; `pip install pie-inferlets` brings some", err=True)
        return
    rows = [[name, each.plugin.package, read_program(each.path).manifest.description] for name, each in found]
    click.echo(table(["PROGRAM", "PACKAGE", "DESCRIPTION"], rows))
