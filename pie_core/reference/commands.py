"""The page of commands: `pie-core` with all it takes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import click

from pie_core.cli import main
from pie_core.cli.command import PieCommand
from pie_core.reference.described import described
from pie_core.reference.markdown import code, page, table


def commands_page() -> str:
    """All of them."""
    common = {tuple(parameter.opts) for parameter in PieCommand("any", params=[]).get_params(_context("any"))}
    parts = [part for name, command in commands(main, "pie-core") for part in _command(name, command, common)]
    everywhere = table(["option of every command", ""], _options("any", PieCommand("any"), set()))
    return page("Commands", everywhere, *parts)


def commands(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its whole name, those of groups in groups too."""
    for part, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {part}")
        else:
            yield f"{name} {part}", command


def _command(name: str, command: click.Command, common: Collection[tuple[str, ...]]) -> Iterator[str]:
    yield f"## `{name}`"
    yield f"```sh\n{name} {' '.join(command.collect_usage_pieces(_context(name, command)))}\n```"
    yield described(name, command.help)
    yield table(["option", ""], _options(name, command, common))


def _options(name: str, command: click.Command, common: Collection[tuple[str, ...]]) -> list[tuple[str, str]]:
    context, rows = _context(name, command), []
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and tuple(parameter.opts) not in common:
            record = parameter.get_help_record(context)
            described(f"{name} {parameter.opts[0]}", re.sub(r"\[[^]]*\]$", "", parameter.help or ""))
            assert record is not None, f"{name} {parameter.opts[0]} is hidden"
            rows.append((code(record[0]), " ".join(record[1].split())))
    return rows


def _context(name: str, command: click.Command | None = None) -> click.Context:
    return click.Context(command or PieCommand(name), info_name=name, help_option_names=["-h", "--help"])
