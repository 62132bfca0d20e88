"""`pie-core new`: the start of a package that others can install, with tests that pass."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from pie_core.cli.command import PieCommand

KIND_NAMES = ("trait", "backend", "policy", "inferlet")


@click.command(cls=PieCommand)
@click.argument("kind", type=click.Choice(KIND_NAMES))
@click.argument("name")
@click.option(
    "-d",
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    help="Where to make the directory of the package.  [default: here]",
)
def new(kind: str, name: str, directory: Path) -> None:
    """Write a package that brings a trait, a backend, a dispatch policy or a program called NAME.

    It can be installed, and its tests pass. Nothing that is there is written over.
    """
    from pie_core.cli.templates import KINDS, render, write

    chosen = KINDS[kind]
    files = render(chosen, name)
    plugin = chosen.name_of(name)
    _refuse_taken(kind, plugin)
    target = directory / chosen.package_of(name)
    write(files, target)
    click.echo(f"{target}: {len(files)} files. Next:\n")
    for line in (
        f'cd {shlex.quote(str(target))} && pip install -e ".[test]"',
        "pytest",
        chosen.trial.format(name=plugin),
    ):
        click.echo(f"  {line}")


def _refuse_taken(kind: str, name: str) -> None:
    """Raise `PluginError` where what would be written could not be used beside what is installed."""
    from pie_core.application.program import installed_programs
    from pie_core.application.runtime import RUNTIME
    from pie_core.cli.templates import KINDS
    from pie_core.errors import PluginError
    from pie_core.plugins import Selection, discover
    from pie_core.registry import load_registry

    for plugin in discover(KINDS[kind].kind):
        if plugin.name == name:
            raise PluginError(f"{plugin} has that name; choose another one")
    if kind == "inferlet" and (path := installed_programs(Selection()).get(name)) is not None:
        raise PluginError(f"a program is called {name!r} already ({path}); choose another name")
    if kind == "trait":
        for trait in (RUNTIME, *load_registry(Selection()).traits.values()):
            if f"get_{name}" in trait.signatures:
                raise PluginError(
                    f"{trait.name} has a call get_{name}, and so would trait {name!r}; choose another name"
                )
