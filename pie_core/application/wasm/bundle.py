"""Source files of installed pure-Python packages, to travel with a program into the sandbox."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pie_core.errors import ConfigError, nearest

_EXTENSIONS = (".so", ".pyd", ".dylib")
_PRESENT = frozenset({"jinja2", "markupsafe", "pie-inferlet-sdk", "pie-core"})  # in the component, or not for it


class SourceFile(NamedTuple):
    """`name` is a path as an import finds it (``tabulate/__init__.py``); of the program, as tracebacks name it."""

    name: str
    text: str


def bundle(distributions: Iterable[str]) -> list[SourceFile]:
    """The modules of these distributions and of those they require.

    Raises `ConfigError` naming what is not installed, holds compiled extensions, or is not UTF-8.
    """
    found: dict[str, importlib.metadata.Distribution] = {}
    for name in distributions:
        _collect(name, "--with", found)
    files = {file.name: file for each in found.values() for file in _modules(each)}
    return [files[name] for name in sorted(files)]


def _collect(name: str, wanted_by: str, found: dict[str, importlib.metadata.Distribution]) -> None:
    key = canonicalize_name(name)
    if key in found or key in _PRESENT:
        return
    try:
        found[key] = distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        known = {each.name for each in importlib.metadata.distributions() if each.name}
        hint = nearest(name, known).split(" (known", 1)[0]
        raise ConfigError(f"package {name!r} ({wanted_by}) is not installed{hint}; pip install {name}") from None
    for text in distribution.requires or ():
        required = Requirement(text)
        if required.marker is None or required.marker.evaluate({"extra": ""}):
            _collect(required.name, f"required by {name}", found)


def _modules(distribution: importlib.metadata.Distribution) -> list[SourceFile]:
    name, files = distribution.name, distribution.files
    if files is None:
        raise ConfigError(f"package {name}: its files are not recorded; install it with pip")
    compiled = [str(path) for path in files if path.name.endswith(_EXTENSIONS)]
    if compiled:
        raise ConfigError(
            f"package {name} cannot run in the sandbox: it holds compiled code ({compiled[0]}); only pure-Python "
            "packages can be bundled"
        )
    return [_read(distribution, path) for path in files if _is_module(path)]


def _is_module(path: PurePosixPath) -> bool:
    inside = not path.is_absolute() and ".." not in path.parts and "__pycache__" not in path.parts
    return inside and path.suffix == ".py"


def _read(distribution: importlib.metadata.Distribution, path: importlib.metadata.PackagePath) -> SourceFile:
    try:
        return SourceFile(path.as_posix(), path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"package {distribution.name}: {path} cannot be read as UTF-8 text: {error}") from error
