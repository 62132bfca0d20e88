"""The packages that `pie-core new` writes: text files under `pie_core/templates`, rendered by `string.Template`.

A template is a directory; `MODULE` and `NAME` in its paths, `$name` and the like in its files are filled in. The tests
render each, build it, install it and run its tests: what is here is what a user gets.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from string import Template

from pie_core.errors import ConfigError
from pie_core.inference.backend import ANY
from pie_core.plugins import Kind
from pie_core.version import API_VERSION

SUFFIX = ".tmpl"
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


@dataclass(frozen=True)
class PackageKind:
    """What can be written. kind: of its plugin. joint: what stands between the words of its name."""

    directory: str
    kind: Kind
    prefix: str
    joint: str
    trial: str  # the command that shows that it works

    def name_of(self, given: str) -> str:
        """The name of its plugin. Raises `ConfigError`."""
        if not _NAME.fullmatch(given):
            raise ConfigError(
                f"{given!r} is no name: wanted are lower-case words, joined by - or _, such as my{self.joint}own"
            )
        if given == ANY:
            raise ConfigError(f"{ANY!r} stands for every backend; choose another name")
        return re.sub("[-_]", self.joint, given)

    def package_of(self, given: str) -> str:
        """The name of its distribution, as PEP 503 normalizes it."""
        return f"{self.prefix}-{given.replace('_', '-')}"


KINDS = {
    "trait": PackageKind("trait", "traits", "pie-trait", "_", "pie-core plugins --check {name}"),
    "backend": PackageKind("backend", "backends", "pie-backend", "_", "pie-core plugins --check {name} --model {name}"),
    "policy": PackageKind("policy", "dispatch", "pie-dispatch", "-", "pie-core plugins --check {name}"),
    "inferlet": PackageKind("inferlet", "inferlets", "pie-inferlet", "_", "pie-core run {name}"),
}


def render(kind: PackageKind, given: str) -> dict[PurePosixPath, str]:
    """The files of a package by their paths in it. Raises `ConfigError` for what is no name."""
    name, package = kind.name_of(given), kind.package_of(given)
    words = re.split("[-_]", given)
    values = {
        "name": name,
        "package": package,
        "module": package.replace("-", "_"),
        "camel": "".join(map(str.capitalize, words)),
        "upper": "_".join(words).upper(),
        "api": str(API_VERSION),
    }
    root = resources.files("pie_core") / "templates"
    files = [found for directory in ("common", kind.directory) for found in _files(root / directory, PurePosixPath())]
    return {_path(path, values): Template(text).substitute(values) for path, text in files}


def write(files: dict[PurePosixPath, str], target: Path) -> None:
    """Make a directory of these files: whole or not at all, and never over another one. Raises `ConfigError`."""
    try:
        target.mkdir(parents=True)
    except FileExistsError as error:
        raise ConfigError(
            f"{target} is there already and stays as it is; choose another name or --directory"
        ) from error
    except OSError as error:
        raise ConfigError(f"{target} cannot be made: {error}") from error
    try:
        for path, text in files.items():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_text(text, "utf-8")
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise ConfigError(f"{target} cannot be written: {error}") from error


def _files(directory: Traversable, path: PurePosixPath) -> Iterator[tuple[PurePosixPath, str]]:
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files(entry, path / entry.name)
        elif entry.name.endswith(SUFFIX):
            yield path / entry.name.removesuffix(SUFFIX), entry.read_text("utf-8")


def _path(path: PurePosixPath, values: dict[str, str]) -> PurePosixPath:
    return PurePosixPath(str(path).replace("MODULE", values["module"]).replace("NAME", values["name"]))
