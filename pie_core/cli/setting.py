"""Settings: options that the environment and a configuration file can say, too. The option is the only declaration.

Its name is the key in the file (`docs/operations.md`), `PIE_` and the name in capitals the variable. The command line
counts before the environment, that before the file, that before the default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from pie_core.errors import ConfigError, PieError

F = TypeVar("F", bound=Callable[..., Any])

_FILE = "pie_core.config.file"  # in `Context.meta`: the `File` that was read
_ENTRIES = "pie_core.config.entries"  # likewise: where each entry of a table comes from
Source = click.core.ParameterSource


class File:
    """What a configuration file says: what click takes for its settings, and the line of each key."""

    def __init__(self, path: Path, values: Mapping[str, Any], lines: Mapping[tuple[str, ...], int]) -> None:
        self.path = path
        self.values = values
        self._lines = lines

    def place(self, key: str) -> str:
        """`FILE:LINE` of `setting` or `table.entry`; `FILE` where that is not known."""
        lines = (line for path, line in self._lines.items() if ".".join(path) == key)
        line = next(lines, None)
        return f"{self.path}:{line}" if line else str(self.path)


class Setting(click.Option):
    """An option that is a setting."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.envvar = self.envvar or _variable(self)

    def get_error_hint(self, context: click.Context | None) -> str:
        """See `click.Parameter.get_error_hint`."""
        hint = super().get_error_hint(context)
        if context is None or self.name is None or context.get_parameter_source(self.name) != Source.ENVIRONMENT:
            return hint
        return f"{hint} (environment variable {self.envvar})"


class SettingArgument(click.Argument):
    """An argument that is a setting."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.envvar = _variable(self)


class TableSetting(Setting):
    """`NAME=VALUE`, several times: a table in the file. Sources add up, entry by entry.

    fields: the entries that there are, and their types; None: that is up to a plugin. by_user: each is for one user, as
    `USER.NAME=VALUE`, and in the file a table of the user's.
    """

    def __init__(
        self, *arguments: Any, fields: type[msgspec.Struct] | None = None, by_user: bool = False, **settings: Any
    ) -> None:
        super().__init__(*arguments, multiple=True, **settings)
        self.fields = fields
        self.by_user = by_user

    def consume_value(self, context: click.Context, given: Mapping[str, Any]) -> tuple[Any, Source]:
        """See `click.Parameter.consume_value`."""
        value, source = super().consume_value(context, given)
        if source == Source.DEFAULT:
            return value, source
        assert self.name is not None
        found = {
            Source.DEFAULT_MAP: context.lookup_default(self.name),
            Source.ENVIRONMENT: self.value_from_envvar(context),
            Source.COMMANDLINE: value if source == Source.COMMANDLINE else None,
        }
        texts, sources = {}, {}
        for each, several in found.items():
            for text in several or ():
                name = text.partition("=")[0]
                texts[name], sources[name] = text, each
        context.meta.setdefault(_ENTRIES, {})[self.name] = sources
        return list(texts.values()), source


def setting(*declarations: str, cls: type[Setting] = Setting, **settings: Any) -> Callable[[F], F]:
    """Like `click.option`, for a setting."""
    return click.option(*declarations, cls=cls, **settings)


def settings_of(command: click.Command) -> dict[str, click.Parameter]:
    """The settings of a command, by name, in the order of its help."""
    return {p.name: p for p in command.params if isinstance(p, Setting | SettingArgument) and p.name is not None}


def config_option(function: F) -> F:
    """`--config`: what the file says counts where neither command line nor environment do."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="PIE_CONFIG",
        is_eager=True,
        expose_value=False,
        callback=_read,
        help="A TOML file of settings.  [default: $XDG_CONFIG_HOME/pie-core/config.toml, if it is there]",
    )(function)


def origin(context: click.Context, name: str, entry: str | None = None) -> str:
    """Where the value of a setting, or of an entry of a table, comes from."""
    source = context.get_parameter_source(name)
    if entry is not None:
        source = context.meta.get(_ENTRIES, {}).get(name, {}).get(entry, Source.DEFAULT)
    match source:
        case Source.COMMANDLINE:
            return "command line"
        case Source.ENVIRONMENT:
            (variable,) = (p.envvar for p in context.command.params if p.name == name)
            return f"environment ({variable})"
        case Source.DEFAULT_MAP:
            file: File = context.meta[_FILE]
            return file.place(name if entry is None else f"{name}.{entry}")
    return "default"


def from_command_line(context: click.Context, name: str) -> bool:
    """Whether it was given on the command line."""
    return context.get_parameter_source(name) == Source.COMMANDLINE


def located(context: click.Context, error: PieError) -> str:
    """The message of an error, and the place in the file that it is about."""
    if isinstance(error, ConfigError) and error.setting is not None and _FILE in context.meta:
        name, _, entry = error.setting.partition(".")
        place = origin(context, name, entry or None)
        if place.startswith(str(context.meta[_FILE].path)):
            return f"{place}: {error.setting}: {error}"
    return str(error)


def _read(context: click.Context, option: click.Parameter, path: Path | None) -> None:
    from pie_core.cli.config_file import default_file, read_file
    from pie_core.cli.serve import serve

    path = path or default_file()
    if path is None:
        return
    try:
        file = read_file(path, settings_of(serve))
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    context.meta[_FILE] = file
    context.default_map = dict(file.values)


def entries(texts: Sequence[str], option: str) -> dict[str, str]:
    """`NAME=VALUE` texts by name. Raises `ConfigError`."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"{option} {text}: write NAME=VALUE")
        pairs[name] = value
    return pairs


def _variable(parameter: click.Parameter) -> str:
    assert parameter.name is not None
    return f"PIE_{parameter.name.upper()}"
