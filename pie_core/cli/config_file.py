"""The configuration file: TOML whose keys are the names of settings. Every key and value in it is checked.

Types are as strict as TOML's: a number is no text. Paths are relative to the directory of the file.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from pie_core.cli.setting import File, TableSetting
from pie_core.errors import ConfigError, misfit, nearest

NAME = Path("pie-core") / "config.toml"
Path_ = tuple[str, ...]


def default_file() -> Path | None:
    """The user's own file, if it is there."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".config"
    return base / NAME if (base / NAME).exists() else None


def read_file(path: Path, settings: Mapping[str, click.Parameter]) -> File:
    """What it says, checked. Raises `ConfigError` with file, line and key, what is right, and the nearest name."""
    try:
        text = path.read_bytes().decode()
        said = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"the configuration {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    return _Reader(path, lines_of(text)).read(said, settings)


class _Reader:
    """Turns the values of TOML into what click takes."""

    def __init__(self, path: Path, lines: Mapping[Path_, int]) -> None:
        self._path = path
        self._lines = lines

    def read(self, said: Mapping[str, Any], settings: Mapping[str, click.Parameter]) -> File:
        values = {}
        for name, value in said.items():
            if name not in settings:
                raise self._error((name,), f"there is no such setting{nearest(name, settings)}")
            values[name] = self._value(name, value, settings[name])
        return File(self._path, values, self._lines)

    def _value(self, name: str, value: Any, setting: click.Parameter) -> Any:
        if isinstance(setting, TableSetting):
            return self._table(name, value, setting)
        if setting.multiple:
            if not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
                raise self._error((name,), f"expected a list of texts, got {_kind(value)}")
            return [self._converted(name, each, setting) for each in value]
        expected: tuple[type, ...] = (str,)
        if isinstance(setting.type, click.types.BoolParamType):
            expected = (bool,)
        elif isinstance(setting.type, click.types.IntParamType):
            expected = (int,)
        elif isinstance(setting.type, click.types.FloatParamType):
            expected = (int, float)
        if type(value) not in expected:
            raise self._error((name,), f"expected {_NAMES[expected[-1]]}, got {_kind(value)}")
        return self._converted(name, value, setting)

    def _converted(self, name: str, value: Any, setting: click.Parameter) -> Any:
        if isinstance(setting.type, click.Path):
            value = str(self._path.absolute().parent / Path(value).expanduser())
        try:
            return setting.type.convert(value, setting, None)
        except click.BadParameter as error:
            raise self._error((name,), error.message) from error

    def _table(self, name: str, value: Any, setting: TableSetting) -> list[str]:
        if not isinstance(value, dict):
            raise self._error((name,), f"expected a table, got {_kind(value)}")
        if not setting.by_user:
            return self._entries((name,), value, setting.fields)
        texts = []
        for user, own in value.items():
            if not isinstance(own, dict):
                raise self._error((name, user), f"expected a table of a user, as in [{name}.{user}], got {_kind(own)}")
            texts += [f"{user}.{text}" for text in self._entries((name, user), own, setting.fields)]
        return texts

    def _entries(self, where: Path_, table: Mapping[str, Any], fields: type[msgspec.Struct] | None) -> list[str]:
        for name, value in table.items():
            if fields is not None and name not in fields.__struct_fields__:
                raise self._error((*where, name), f"there is no such setting{nearest(name, fields.__struct_fields__)}")
            if not isinstance(value, str | int | float):
                raise self._error((*where, name), f"expected a text, a number or a truth value, got {_kind(value)}")
        if fields is not None:
            try:
                msgspec.convert(table, fields)
            except msgspec.ValidationError as error:
                place, message = misfit(error)
                raise self._error((*where, place) if place else where, message) from error
        return [f"{name}={_text(value)}" for name, value in table.items()]

    def _error(self, key: Path_, message: str) -> ConfigError:
        line = self._lines.get(key)
        place = f"{self._path}:{line}" if line else str(self._path)
        return ConfigError(f"{place}: {'.'.join(key)}: {message}")


_NAMES = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


def _kind(value: Any) -> str:
    return next((name for kind, name in _NAMES.items() if isinstance(value, kind)), "a date or time")


def _text(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def lines_of(text: str) -> dict[Path_, int]:
    """The line on which each key of a TOML document begins, counted from 1.

    TOML's own parser tells no lines. But a document is a row of statements, each of which it can read by itself: a
    comment, a header, or a key with a value, which may go over several lines.
    """
    found: dict[Path_, int] = {}
    table: Path_ = ()
    statement, began = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += line + "\n"
        try:
            said = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue  # it goes on
        if statement.lstrip().startswith("["):
            table = next(iter(_paths(said)), ())
            found.setdefault(table, began)
        else:
            found |= {(*table, *path): began for path in _paths(said)}
        statement, began = "", number + 1
    return found


def _paths(said: Any) -> Iterator[Path_]:
    """Of what is in nested tables, from the outermost name on; and of the tables."""
    for name, value in said.items():
        inner = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else value
        below = [(name, *path) for path in _paths(inner)] if isinstance(inner, dict) else []
        yield from below or [(name,)]
