"""What every command has in common: how it logs, and that a `PieError` is one clear message and exit code 1."""

from __future__ import annotations

import traceback
from typing import Any, NoReturn

import click

from pie_core.cli.setting import Setting, located
from pie_core.errors import PieError

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
LOG_LEVEL = "pie_core.log_level"  # in `Context.meta`
LEVELS = ("debug", "info", "warning", "error")


class PieCommand(click.Command):
    """A command with `--log-level` and `--debug`."""

    log_level = "warning"

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params += [
            Setting(
                ["--log-level"],
                type=click.Choice(LEVELS),
                envvar="PIE_LOG",
                show_envvar=True,
                help=f"Log events of this level and above, on stderr.  [default: {self.log_level}]",
            ),
            click.Option(["--debug"], is_flag=True, help="Show the traceback of an error."),
        ]

    def invoke(self, context: click.Context) -> Any:
        """Run it."""
        from pie_core.logs import configure

        debug, level = context.params.pop("debug"), context.params.pop("log_level")
        context.meta[LOG_LEVEL] = level or self.log_level
        configure(level or self.log_level)
        try:
            return super().invoke(context)
        except PieError as error:
            self._fail(context, error, debug)
        except KeyboardInterrupt:
            context.exit(INTERRUPTED)

    def _fail(self, context: click.Context, error: PieError, debug: bool) -> NoReturn:
        if debug:
            click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
        raise click.ClickException(located(context, error)) from error


class ServingCommand(PieCommand):
    """A command that people watch through its log."""

    log_level = "info"
