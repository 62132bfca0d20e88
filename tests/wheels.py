"""Wheels as they are published, and environments that have nothing of ours but what was installed from them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


def build_wheels(target: Path, *projects: Path) -> None:
    """Build distributions with what is installed here; nothing is downloaded."""
    build = ["wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", target]
    run_checked([*PIP, *build, *projects])


class CleanEnvironment:
    """A virtual environment that holds none of our distributions, editable or not, until they are installed.

    What it shares with the one that the tests run in are the files of other people's distributions (torch,
    transformers, numpy, pytest, ...): they are linked into it, metadata and all. So pip resolves what our wheels demand
    as it would for a user, finds theirs installed, and takes ours from a directory of wheels. That theirs can be
    downloaded is not shown.
    """

    def __init__(self, directory: Path) -> None:
        """One that was made there."""
        self.directory = directory
        self._bin = directory / "bin"
        (self._site,) = directory.glob("lib/python*/site-packages")

    @classmethod
    def create(cls, directory: Path) -> CleanEnvironment:
        """A new one."""
        run_checked([sys.executable, "-m", "venv", "--without-pip", directory])
        made = cls(directory)
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if not _is_ours(entry):
                (made._site / entry.name).symlink_to(entry)
        return made

    def install(self, *what: str | Path, wheels: Path) -> None:
        """Distributions by name, or wheels, with all that they demand."""
        quick = ["--no-compile", "--no-warn-conflicts"]  # what is demanded is resolved all the same
        install = ["--python", self._bin / "python", "install", *quick, "--no-index", "--find-links", wheels]
        run_checked([*PIP, *install, *what])

    @property
    def ours(self) -> set[str]:
        """Our distributions in it."""
        return {entry.name.split("-")[0].replace("_", "-") for entry in self._site.glob("pie_*.dist-info")}

    def run(self, command: str, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """One of its commands, to its end, away from the repository."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIE_", "PYTHON"))}
        return subprocess.run(
            [str(self._bin / command), *map(str, arguments)],
            cwd=cwd or self.directory,
            env=kept | self._environment,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def pytest(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run tests in it, without what plugins of ours and of others would add."""
        plain = ["-p", "no:cacheprovider", "-p", "no:randomly", "--import-mode=importlib"]
        return self.run("python", "-m", "pytest", *plain, *arguments)

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}",
            "XDG_STATE_HOME": str(self.directory / "state"),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
        }


def _is_ours(entry: Path) -> bool:
    """Ours, or what pip leaves for editable installs; other `.pth` files would do nothing where they are linked."""
    return entry.name.startswith(("pie_", "_editable_impl_pie", "inferlet")) or entry.suffix == ".pth"


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A directory that is filled once, whichever of the processes that run tests comes first."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    directory, done = shared / name, shared / f"{name}.done"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make(directory)
            done.touch()
    return directory


def run_checked(command: Iterable[object]) -> str:
    """Run it; an error shows what it printed."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
