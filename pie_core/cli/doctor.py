"""`pie-core doctor`: is everything there that a program needs, and does it work together?"""

from __future__ import annotations

import asyncio
from typing import Any

import click

from pie_core.cli.command import PieCommand
from pie_core.cli.options import MODEL, core_options, settings

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(cls=PieCommand)
@MODEL
@core_options
@click.pass_context
def doctor(context: click.Context, /, model: str | None, **core: Any) -> None:
    """Check the installation, from the Python version to a few generated tokens.

    Every line is ok, warn or fail, and says what to do. Exit code: 1 if one failed.
    """
    from pie_core.cli import checks

    chosen = settings(model, **core)
    failed = False
    for finding in checks.installation(chosen.selection):
        failed |= _show(finding.status, finding.text)
    if failed:
        _show("warn", "generation was not tried, because of the failures above")
    else:
        finding = asyncio.run(checks.generation(chosen))
        failed = _show(finding.status, finding.text)
    context.exit(1 if failed else 0)


def _show(status: str, text: str) -> bool:
    click.echo(f"{click.style(f'{status:4}', fg=COLOURS[status])}  {text}")
    return status == "fail"
