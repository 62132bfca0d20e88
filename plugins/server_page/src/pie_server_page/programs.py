"""The installed programs, as the page lists them: what `pie-core run --list` says, and their flags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from pie_core.application.manifest import Flag
from pie_core.application.program import read_program
from pie_core.errors import ProgramError

KINDS = {bool: "switch", int: "whole number", float: "number", str: "text"}


class FlagState(msgspec.Struct, frozen=True):
    """A flag, on the command line `--name VALUE`; a switch is `--name` or `--no-name`."""

    name: str
    kind: str
    default: str | int | float | bool
    help: str


class ProgramState(msgspec.Struct, frozen=True):
    """A program by its name. problem: why it could not be launched as it is, empty if it could."""

    name: str
    description: str
    flags: list[FlagState]
    hosts: list[str]
    spawn: bool
    problem: str


class Programs(msgspec.Struct, frozen=True):
    """All of them, by name."""

    programs: list[ProgramState]


class ProgramText(msgspec.Struct, frozen=True):
    """One, to be read and changed."""

    name: str
    source: str


def list_programs(installed: Mapping[str, Path]) -> Programs:
    """Read them all."""
    return Programs([_state(name, installed[name]) for name in sorted(installed)])


def program_text(name: str, installed: Mapping[str, Path]) -> ProgramText:
    """Raises `ProgramError` if it cannot be read."""
    return ProgramText(name, read_program(installed[name]).source)


def _state(name: str, path: Path) -> ProgramState:
    try:
        manifest = read_program(path).manifest
    except ProgramError as error:
        return ProgramState(name, "", [], [], False, str(error))
    flags = [_flag(name, flag) for name, flag in manifest.flags.items()]
    return ProgramState(name, manifest.description, flags, list(manifest.hosts), manifest.spawn, "")


def _flag(name: str, flag: Flag) -> FlagState:
    return FlagState(name.replace("_", "-"), KINDS[type(flag.default)], flag.default, flag.help)
