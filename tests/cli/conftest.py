"""Runs the command as its users do: in a process of its own, with the package pie-fake of tests/server installed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner, Result

from pie_core.cli import main

SERVER_TESTS = Path(__file__).parent.parent / "server"
INSTALLED = SERVER_TESTS / "installed"
COMMAND = [sys.executable, "-m", "pie_core.cli"]

Run = Callable[..., subprocess.CompletedProcess[str]]


class Commands:
    """`pie-core`, with more packages installed if a test asks for them."""

    def __init__(self, *packages: Path) -> None:
        found = [str(INSTALLED), *map(str, packages), os.environ.get("PYTHONPATH", "")]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PIE_")}
        nowhere = {"XDG_CONFIG_HOME": "/nonexistent", "XDG_STATE_HOME": tempfile.mkdtemp(prefix="pie-state-")}
        self._environment = kept | nowhere | {"PYTHONPATH": os.pathsep.join(found)}

    def run(self, *arguments: object, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=stdin,
            env=self._environment | environment,
            capture_output=True,
            text=True,
            timeout=300,  # the first run on a machine makes the interpreter
        )

    def run_fake(self, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`pie-core run` on the fake model."""
        return self.run("run", "--backend", "fake", "--model", "fake", *arguments, stdin=stdin)

    @contextmanager
    def start(self, *arguments: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """Start it; it is killed at the end if it still runs."""
        with subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env=self._environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def serve(self, *arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
        """A server with the fake model that is ready, and its address."""
        with self.start("serve", "fake", "--backend", "fake", "--port", 0, *arguments) as process:
            line = process.stdout.readline()
            assert line.startswith("pie-core serves fake at http"), line + process.stderr.read()
            yield process, line.split()[-1]


@pytest.fixture
def invoke(tmp_path: Path) -> Iterator[Callable[..., Result]]:
    """`invoke(*arguments, **environment)`: the command in this process, for what ends before anything is loaded."""
    nowhere = {"XDG_CONFIG_HOME": str(tmp_path / "nowhere"), "XDG_STATE_HOME": str(tmp_path / "nowhere")}
    root = logging.getLogger()
    handlers, level = root.handlers, root.level

    def run(*arguments: object, **environment: str) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], env=nowhere | environment)

    yield run
    structlog.reset_defaults()  # a command sets up the log of its process
    root.handlers, root.level = handlers, level


@pytest.fixture(scope="session")
def pie_core() -> Commands:
    """The command."""
    return Commands()


@pytest.fixture
def pie_core_with() -> Callable[..., Commands]:
    """The command, with more directories of installed packages."""
    return Commands


@pytest.fixture(scope="session")
def programs() -> Path:
    """Where the programs of the server's tests are."""
    return SERVER_TESTS / "programs"


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """Makes an installed package of entry points and, if given, a module; its directory."""

    def make(name: str, entry_points: str, source: str = "", **more: Any) -> Path:
        directory = tmp_path / name
        info = directory / f"{name}-2.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
        (info / "entry_points.txt").write_text(entry_points)
        (directory / f"{name.replace('-', '_')}.py").write_text(source)
        return directory

    return make
