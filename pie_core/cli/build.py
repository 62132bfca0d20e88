"""`pie-core build`: a program as a component, to be sent to any server that isolates programs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pie_core.cli.command import PieCommand
from pie_core.cli.options import selection, selection_options

if TYPE_CHECKING:
    from pie_core.application.program import Program
    from pie_core.trait import Trait


@click.command(cls=PieCommand)
@click.argument("program")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The component to write.  [default: PROGRAM.wasm]",
)
@click.option("--with", "packages", multiple=True, metavar="NAME", help="Bundle an installed pure-Python package.")
@click.option(
    "--manifest", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="TOML for a PROGRAM.wasm."
)
@selection_options
def build(
    program: str,
    output: Path | None,
    packages: tuple[str, ...],
    manifest: Path | None,
    without: tuple[str, ...],
    prefer: tuple[str, ...],
) -> None:
    """Make a WebAssembly component of PROGRAM and print its file.

    PROGRAM is Python (a .py file, or the name of an installed program); or a .wasm file of another language: a core
    module that becomes a component, or a component, which gets a manifest.
    """
    from pie_core.application.component import MANIFEST, write_section
    from pie_core.application.manifest import manifest_text, parse_manifest
    from pie_core.application.program import find_program
    from pie_core.application.runtime import RUNTIME
    from pie_core.errors import ConfigError
    from pie_core.registry import load_registry

    chosen = selection(without, prefer)
    found = find_program(program, chosen)
    if found.wasm is None and manifest is not None:
        raise click.UsageError("the manifest of a Python program is the block at its top; leave --manifest out")
    if found.wasm is not None and packages:
        raise click.UsageError("--with is for Python programs")
    target = output or Path(f"{found.name}.wasm")
    if output is None and found.wasm is not None:
        raise click.UsageError("name a file to write with --output")
    if not target.parent.is_dir():
        raise ConfigError(f"{target} cannot be written: there is no directory {target.parent}")
    registry = load_registry(chosen, reserved=dict.fromkeys(RUNTIME.signatures, RUNTIME.name))
    if found.wasm is None:
        text = manifest_text(found.source, found.filename)
        made = _build_python(found, packages, registry.traits)
    else:
        text = "" if manifest is None else manifest.read_text("utf-8")
        parse_manifest(text, str(manifest))
        made = _finish(found.wasm, registry.traits.values(), found.filename)
    if text:
        made = write_section(made, MANIFEST, text.encode(), found.filename)
    try:
        target.write_bytes(made)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error}") from error
    click.echo(target)


def _build_python(program: Program, packages: tuple[str, ...], installed: dict[str, Trait]) -> bytes:
    from pie_core.application.wasm.interpreter import build_program

    traits = _used_traits(program, installed)
    with tempfile.TemporaryDirectory(prefix="pie-build-") as directory:
        return build_program(program, traits, Path(directory), packages, _show).read_bytes()


def _used_traits(program: Program, installed: dict[str, Trait]) -> list[Trait]:
    """The traits that a program's manifest names or that it calls itself, and those they build on.

    All that are installed if its manifest names none: what it uses through libraries, its source does not show.
    """
    from pie_core.registry import with_supertraits

    named = program.manifest.traits
    if not named:
        return list(installed.values())
    owners = {call: trait.name for trait in installed.values() for call in trait.signatures}
    called = {owners[call] for call in program.calls(owners)}
    return with_supertraits([*named, *sorted(called)], installed, program.filename)


def _finish(wasm: bytes, traits: Iterable[Trait], who: str) -> bytes:
    """A component of a core module, checked as the server will."""
    import wasmtime
    from wasmtime.component import Component

    from pie_core.application.wasm.compile import CompileLimits, check_kind
    from pie_core.application.wasm.compile_worker import check_run, refusal
    from pie_core.application.wasm.engine import engine_config
    from pie_core.application.wasm.signature import check_imports
    from pie_core.application.wasm.wrapping import CORE_MODULE, wrap

    chosen = list(traits)
    made = wrap(wasm, chosen, who) if wasm.startswith(CORE_MODULE) else wasm
    check_kind(made, CompileLimits())
    engine = wasmtime.Engine(engine_config())
    try:
        kind = Component(engine, made).type
    except wasmtime.WasmtimeError as error:
        raise refusal(error) from error
    check_run({name: extern.ty for name, extern in kind.exports(engine).items()})
    check_imports(kind.imports(engine), engine, chosen, who)
    return made


def _show(text: str) -> None:
    click.echo(text, err=True)
