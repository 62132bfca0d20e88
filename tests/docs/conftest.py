"""A shell for the commands of pages, and one server for all of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FORKS = Path(__file__).parent / "forks.py"
SHOWN = "127.0.0.1:8123"  # where servers are in pages


class Shell:
    """Runs commands in a directory, with `pie-core` and `python` in the path. The server's own address is not shown."""

    def __init__(self, directory, environment, server):
        self.directory = directory
        self._environment = environment
        self._server = server

    def run(self, command):
        """What it prints on both streams, and its exit code."""
        done = subprocess.run(
            ["bash", "-c", command.replace(SHOWN, self._server)],
            cwd=self.directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,  # the first run on a machine makes the interpreter
        )
        return done.stdout.replace(self._server, SHOWN), done.returncode

    def write(self, name, text):
        """A file of a page."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(SHOWN, self._server), "utf-8")


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """The environment of all commands: those in `bin` are forks of one process."""
    directory = tmp_path_factory.mktemp("shell")
    address, binaries = directory / "socket", directory / "bin"
    binaries.mkdir()
    for name in ("pie-core", "python"):
        (binaries / name).write_text(f'#!/bin/sh\nexec {sys.executable} -S {FORKS} {address} {name} "$@"\n')
        (binaries / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIE_")}
    environment = kept | {
        "PATH": f"{binaries}{os.pathsep}{kept['PATH']}",
        "XDG_STATE_HOME": str(directory / "state"),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    with subprocess.Popen(
        [sys.executable, FORKS, address], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield environment
        finally:
            process.kill()


@pytest.fixture(scope="session")
def server(environment):
    """The first line of `pie-core serve`."""
    command = ["pie-core", "serve", "--port", "0", "--log-level", "warning", "-o", "dtype=float32"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline()
        finally:
            process.kill()


@pytest.fixture
def shell(tmp_path, environment, server):
    """A new directory to run commands in."""
    return Shell(tmp_path, environment, server.split()[-1].removeprefix("http://"))
