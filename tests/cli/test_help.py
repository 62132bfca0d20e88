"""Help is quick, complete, and in the documentation."""

import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pie_core.cli import main
from pie_core.version import __version__

MANUAL = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")


def commands(group=main, before=""):
    """All commands, by what one types."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


COMMANDS = dict(commands())
OPTIONS = sorted({(n, option) for n, c in COMMANDS.items() for p in c.params for option in p.opts if option[0] == "-"})


def test_help_imports_nothing_heavy():
    heavy = "('torch', 'transformers', 'numpy', 'uvicorn', 'starlette', 'websockets', 'structlog')"
    check = f"import sys, pie_core.cli; sys.exit(str([name for name in {heavy} if name in sys.modules]))"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True).stderr == "[]\n"


def test_help_answers_in_under_300_ms_of_the_processor(pie_core):
    def spent():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def seconds():
        before = spent()
        assert pie_core.run("--help").returncode == 0
        return spent() - before

    assert min(seconds() for _ in range(5)) < 0.3


def test_version_is_the_version_of_the_package(pie_core):
    assert pie_core.run("--version").stdout == f"pie-core, version {__version__}\n"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_is_in_the_manual(command):
    assert f"## `pie-core {command}" in MANUAL


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_is_in_the_manual(command, option):
    assert f"`{option}" in MANUAL


def test_every_option_has_a_help_text():
    for command in COMMANDS.values():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (command.name, parameter.name)
