"""The options that say what to serve and how, for every command that loads a model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
import msgspec

from pie_core.application.limits import Limits
from pie_core.errors import ConfigError, nearest

if TYPE_CHECKING:
    from pie_core.controller import Settings
    from pie_core.plugins import Selection

F = TypeVar("F", bound=Callable[..., Any])

LIMIT_NAMES = ", ".join(Limits.__struct_fields__)


def selection_options(function: F) -> F:
    """`--without` and `--prefer`; `selection` makes sense of them."""
    for option in (
        click.option("--prefer", multiple=True, metavar="PACKAGE", help="The package that wins a clash of names."),
        click.option(
            "--without", multiple=True, metavar="KIND.NAME", help="Leave a plugin out, such as traits.tokenize."
        ),
    ):
        function = option(function)
    return function


POLICY_PARAMETERS = ("dispatch", "dispatch_options", "contention", "contention_options")
POLICY_OPTIONS = (
    click.option(
        "--contention-option", "contention_options", multiple=True, metavar="NAME=VALUE", help="One of its options."
    ),
    click.option("--contention", metavar="NAME", help="Who gives way when a pool is dry.  [default: swap if it can]"),
    click.option(
        "--dispatch-option", "dispatch_options", multiple=True, metavar="NAME=VALUE", help="One of its options."
    ),
    click.option("--dispatch", metavar="NAME", help="When to launch what is ready.  [default: adaptive]"),
)


def core_options(function: F) -> F:
    """What `settings` makes sense of."""
    for option in (
        click.option("--allow-spawn", is_flag=True, help="Let programs whose manifest says so start other programs."),
        click.option(
            "--state-dir",
            type=click.Path(path_type=Path, file_okay=False),
            help="Where what programs store is kept.  [default: $XDG_STATE_HOME/pie-core, or ~/.local/state/pie-core]",
        ),
        click.option(
            "--allow-host",
            "allow_hosts",
            multiple=True,
            metavar="HOST[:PORT]",
            help="A host that programs may reach: a name, *.SUFFIX or an address.  [default: none]",
        ),
        click.option(
            "--trace-file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Write what happens to this file, for chrome://tracing or Perfetto.",
        ),
        click.option("--native", is_flag=True, help="Trust programs: run them in this process instead of the sandbox."),
        click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help=f"A limit: {LIMIT_NAMES}."),
        selection_options,
        *POLICY_OPTIONS,
        click.option(
            "-o", "--option", "options", multiple=True, metavar="NAME=VALUE", help="Set an option of the backend."
        ),
        click.option(
            "--backend",
            metavar="NAME",
            help="The backend plugin.  [default: the only one installed, or the default among several]",
        ),
    ):
        function = option(function)
    return function


def settings(
    model: str | None,
    backend: str | None = None,
    options: Sequence[str] = (),
    without: Sequence[str] = (),
    prefer: Sequence[str] = (),
    limits: Sequence[str] = (),
    native: bool = False,
    allow_hosts: Sequence[str] = (),
    allow_spawn: bool = False,
    state_dir: Path | None = None,
    dispatch: str | None = None,
    dispatch_options: Sequence[str] = (),
    contention: str | None = None,
    contention_options: Sequence[str] = (),
    trace_file: Path | None = None,
) -> Settings:
    """The settings that the options say. Raises `ConfigError`; a misspelt name is never dropped in silence."""
    from pie_core.application.capabilities import Capabilities
    from pie_core.controller import Settings
    from pie_core.policies import PolicyChoice

    return Settings(
        model=model,
        backend=backend,
        options=_pairs(options, "--option"),
        selection=selection(without, prefer),
        limits=_limits(_pairs(limits, "--limit")),
        dispatch=PolicyChoice(dispatch, _pairs(dispatch_options, "--dispatch-option")),
        contention=PolicyChoice(contention, _pairs(contention_options, "--contention-option")),
        tier="native" if native else "wasm",
        state_dir=state_dir,
        capabilities=Capabilities.of(allow_hosts, allow_spawn),
        trace_file=trace_file,
    )


def selection(without: Sequence[str] = (), prefer: Sequence[str] = ()) -> Selection:
    """Which plugins to use. Names that no installed plugin has are an error."""
    from packaging.utils import canonicalize_name

    from pie_core.plugins import Kind, Selection, discover

    if without or prefer:
        plugins = [plugin for kind in get_args(Kind) for plugin in discover(kind)]
        _check_known("--without", without, {f"{plugin.kind}.{plugin.name}" for plugin in plugins})
        _check_known("--prefer", map(canonicalize_name, prefer), {canonicalize_name(p.package) for p in plugins})
    return Selection(frozenset(without), tuple(prefer))


def _check_known(option: str, given: Iterable[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            raise ConfigError(f"{option} {name}: nothing installed has this name{nearest(name, known)}")


def _pairs(given: Sequence[str], option: str) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"{option} {text}: write NAME=VALUE")
        pairs[name] = value
    return pairs


def _limits(given: dict[str, str]) -> Limits:
    for name in given:
        if name not in Limits.__struct_fields__:
            raise ConfigError(f"--limit {name}: there is no such limit{nearest(name, Limits.__struct_fields__)}")
    try:
        return msgspec.convert(given, Limits, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"--limit: {error}") from error
