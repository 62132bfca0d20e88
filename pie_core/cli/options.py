"""The options that say what to serve and how, for every command that loads a model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
import msgspec

from pie_core.application.limits import Limits
from pie_core.application.quotas import Quota, Quotas
from pie_core.cli.setting import TableSetting, config_option, entries, setting
from pie_core.errors import ConfigError, misfit, nearest

if TYPE_CHECKING:
    from pie_core.controller import Settings
    from pie_core.plugins import Selection

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound=msgspec.Struct)

LIMIT_NAMES = ", ".join(Limits.__struct_fields__)
QUOTA_NAMES = ", ".join(Quota.__struct_fields__)


def selection_options(function: F) -> F:
    """`--without` and `--prefer`; `selection` makes sense of them."""
    for option in (
        setting("--prefer", multiple=True, metavar="PACKAGE", help="The package that wins a clash of names."),
        setting("--without", multiple=True, metavar="KIND.NAME", help="Leave a plugin out, such as traits.tokenize."),
    ):
        function = option(function)
    return function


def table(*declarations: str, **more: Any) -> Callable[[F], F]:
    """A setting of `NAME=VALUE` entries."""
    return setting(*declarations, cls=TableSetting, **more)


STATE_DIR = setting(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where keys and what programs store are kept.  "
    "[default: $XDG_STATE_HOME/pie-core, or ~/.local/state/pie-core]",
)
KEYS = setting(
    "--keys",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The file of keys.  [default: keys.json in the --state-dir]",
)


def core_options(function: F) -> F:
    """What `settings` makes sense of, and where else they may come from."""
    for option in (
        config_option,
        setting("--allow-spawn/--no-allow-spawn", help="Let programs whose manifest says so start other programs."),
        STATE_DIR,
        setting(
            "--allow-host",
            "allow_hosts",
            multiple=True,
            metavar="HOST[:PORT]",
            help="A host that programs may reach: a name, *.SUFFIX or an address.  [default: none]",
        ),
        setting(
            "--trace-file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Write what happens to this file, for chrome://tracing or Perfetto.",
        ),
        setting("--native/--no-native", help="Trust programs: run them in this process instead of the sandbox."),
        table("--limit", "limits", metavar="NAME=VALUE", fields=Limits, help=f"A limit: {LIMIT_NAMES}."),
        selection_options,
        table("--contention-option", "contention_options", metavar="NAME=VALUE", help="One of its options."),
        setting("--contention", metavar="NAME", help="Who gives way when a pool is dry.  [default: swap if it can]"),
        table("--dispatch-option", "dispatch_options", metavar="NAME=VALUE", help="One of its options."),
        setting("--dispatch", metavar="NAME", help="When to launch what is ready.  [default: adaptive]"),
        table("-o", "--option", "options", metavar="NAME=VALUE", help="Set an option of the backend."),
        setting(
            "--backend",
            metavar="NAME",
            help="The backend plugin.  [default: the only one installed, or the default among several]",
        ),
    ):
        function = option(function)
    return function


MODEL = setting(
    "--model",
    metavar="MODEL",
    help="A model plugin or checkpoint directory.  [default: the only one, or the default among several]",
)


def quota_options(function: F) -> F:
    """What users may use; `quotas` makes sense of it."""
    for option in (
        table(
            "--user-quota",
            "user_quotas",
            metavar="USER.NAME=VALUE",
            fields=Quota,
            by_user=True,
            help="A quota of one user, instead of that of each.",
        ),
        table(
            "--quota",
            "quotas",
            metavar="NAME=VALUE",
            fields=Quota,
            help=f"What each user may use: {QUOTA_NAMES}.  [default: no bound]",
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
    quotas: Sequence[str] = (),
    user_quotas: Sequence[str] = (),
) -> Settings:
    """The settings that the options say. Raises `ConfigError`; a misspelt name is never dropped in silence."""
    from pie_core.application.capabilities import Capabilities
    from pie_core.controller import Settings
    from pie_core.policies import PolicyChoice

    return Settings(
        model=model,
        backend=backend,
        options=entries(options, "--option"),
        selection=selection(without, prefer),
        limits=_converted(entries(limits, "--limit"), Limits, "--limit"),
        dispatch=PolicyChoice(dispatch, entries(dispatch_options, "--dispatch-option")),
        contention=PolicyChoice(contention, entries(contention_options, "--contention-option")),
        quotas=_quotas(quotas, user_quotas),
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
            raise ConfigError(f"{option} {name}: nothing installed has this name{nearest(name, known)}", option[2:])


def _quotas(everyone: Sequence[str], of_users: Sequence[str]) -> Quotas:
    given = entries(everyone, "--quota")
    users: dict[str, dict[str, str]] = {}
    for name, value in entries(of_users, "--user-quota").items():
        user, dot, quota = name.rpartition(".")
        if not dot or not user:
            raise ConfigError(f"--user-quota {name}={value}: write USER.NAME=VALUE")
        users.setdefault(user, {})[quota] = value
    return Quotas(
        _converted(given, Quota, "--quota"),
        {user: _converted(given | own, Quota, f"--user-quota {user}") for user, own in users.items()},
    )


def _converted(given: Mapping[str, str], kind: type[T], option: str) -> T:
    fields = [field.name for field in msgspec.structs.fields(kind)]
    for name in given:
        if name not in fields:
            what = option.partition(" ")[0].removeprefix("--").rpartition("-")[2]
            raise ConfigError(f"{option} {name}: there is no such {what}{nearest(name, fields)}")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        name, why = misfit(error)
        said = f"{option} {name}={given[name]}: {why}" if name in given else f"{option}: {error}"
        raise ConfigError(said) from error
