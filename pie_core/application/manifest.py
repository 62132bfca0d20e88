"""What a program says about itself: a TOML block in comments at its top, in the form of PEP 723.

# /// inferlet
# description = "Completes a text."
# traits = ["input_text", "tokenize", "output_text"]
# hosts = ["api.example.com", "*.example.org:8443"]
# [flags.prompt]
# default = "Hello,"
# help = "The text to complete."
# ///

A component carries the same TOML, without the comment signs, in a custom section of its own.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

import msgspec

from pie_core.application.network.reach import parse_patterns
from pie_core.errors import ProgramError

_BLOCK = re.compile(r"(?m)^# /// inferlet$\s(?P<body>(^#(| .*)$\s)+)^# ///$")
_START = re.compile(r"(?m)^# /// inferlet$")
_FLAG = re.compile(r"[a-z][a-z0-9_]*")


class Flag(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One command-line flag of the program. Its type is that of the default: text, whole number, number or switch."""

    default: str | int | float | bool
    help: str = ""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything is optional; a program without a block has the defaults."""

    description: str = ""
    traits: tuple[str, ...] = ()
    flags: dict[str, Flag] = {}
    hosts: tuple[str, ...] = ()  # that it wants to reach over the network; see `network.reach.HostPattern`
    spawn: bool = False  # whether it wants to start programs


def read_manifest(source: str, where: str) -> Manifest:
    """The manifest in a program's source. Raises `ProgramError` naming file and field."""
    return parse_manifest(manifest_text(source, where), f"{where}: the `# /// inferlet` block")


def manifest_text(source: str, where: str) -> str:
    """The TOML in a program's source, empty if there is none. Raises `ProgramError` if its block is not right."""
    source = source.replace("\r\n", "\n")
    match = _BLOCK.search(source)
    starts = len(_START.findall(source))
    if starts > 1 or (starts and match is None):
        what = "is there twice" if starts > 1 else "does not end; close it with a line `# ///`"
        raise ProgramError(f"{where}: the `# /// inferlet` block {what}")
    if match is None:
        return ""
    return "".join(line.removeprefix("#").removeprefix(" ") for line in match["body"].splitlines(keepends=True))


def parse_manifest(text: str, where: str) -> Manifest:
    """A manifest from TOML. Raises `ProgramError` naming `where` and field."""
    try:
        manifest = msgspec.convert(tomllib.loads(text), Manifest)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ProgramError(f"{where} is not right: {error}") from error
    except RecursionError as error:
        raise ProgramError(f"{where} is not right: its values are nested too deeply") from error
    try:
        parse_patterns(manifest.hosts)
    except ValueError as error:
        raise ProgramError(f"{where}: hosts: {error}") from None
    for name in manifest.flags:
        if not _FLAG.fullmatch(name):
            raise ProgramError(f"{where}: flag {name!r}: a name is lower_snake_case (--max-tokens sets `max_tokens`)")
    return manifest


def parse_flags(manifest: Manifest, arguments: list[str], where: str) -> dict[str, Any]:
    """Values for the declared flags out of `--name value`, `--name=value` and `--switch`/`--no-switch`.

    Raises `ProgramError` for unknown flags, missing or ill-typed values, naming the flags there are.
    """
    values: dict[str, Any] = {name: flag.default for name, flag in manifest.flags.items()}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, has_value, text = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        negated = not has_value and isinstance(values.get(name.removeprefix("no_")), bool) and name not in values
        name = name.removeprefix("no_") if negated else name
        if not word.startswith("--") or name not in values:
            known = ", ".join(f"--{flag.replace('_', '-')}" for flag in values) or "none"
            raise ProgramError(f"{where}: unknown argument {word!r}; its flags are: {known}")
        default = manifest.flags[name].default
        if isinstance(default, bool) and not has_value:
            values[name] = not negated
            continue
        if not has_value:
            if not rest:
                raise ProgramError(f"{where}: --{name.replace('_', '-')} needs a value")
            text = rest.pop(0)
        values[name] = _parse(text, default, name, where)
    return values


def _parse(text: str, default: object, name: str, where: str) -> Any:
    try:
        return msgspec.convert(text, type(default), strict=False)
    except msgspec.ValidationError as error:
        raise ProgramError(
            f"{where}: --{name.replace('_', '-')} takes {type(default).__name__}, got {text!r}"
        ) from error
