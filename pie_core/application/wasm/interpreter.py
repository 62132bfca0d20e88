"""Components for Python programs: the interpreter, which asks for its program, and components with a program inside.

Both are CPython, the SDK and the guest's side of it (`inferlet_guest`), joined to the world of the chosen traits by
componentize-py and snapshotted after their imports. Nothing is built twice: a component lies in a cache under the hash
of all that went into it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import structlog

from pie_core.application.interface import describe
from pie_core.application.program import Program
from pie_core.application.wasm import immortal, merging
from pie_core.application.wasm.bundle import SourceFile, bundle
from pie_core.application.wasm.merging.binary import NotMergeableError
from pie_core.application.wasm.merging.merge import merge
from pie_core.application.wasm.wit import write
from pie_core.errors import ConfigError, PieError
from pie_core.trait import Trait

BUILDER = "componentize-py"
INTERPRETER = "interpreter"  # the world that imports `source`
ENTRY = "inferlet_guest.entry"
BAKED = "inferlet_baked.py"
PACKAGES = ("inferlet", "inferlet_guest", "jinja2", "markupsafe")
_CORE = ("types", "tickets", "source", "runtime")  # interfaces of pie:core
_LONGEST_S = 600.0
_LAST_LINES = 20
_RUN = "import sys; from componentize_py import script; sys.argv[0] = 'componentize-py'; sys.exit(script())"

log = structlog.get_logger(__name__)

Progress = Callable[[str], None]


def _silent(_: str) -> None:
    pass


def build_interpreter(
    traits: Iterable[Trait], cache: Path, progress: Progress = _silent, prebuilt: Iterable[Path] = ()
) -> Path:
    """The interpreter component for these traits, from the cache, from a package's directory or built now (about 15 s).

    Raises `PieError` if componentize-py is not installed or fails, `ConfigError` if the cache cannot be written.
    """
    return _build(list(traits), None, INTERPRETER, cache, progress, prebuilt)


def build_program(
    program: Program,
    traits: Iterable[Trait],
    cache: Path,
    packages: Sequence[str] = (),
    progress: Progress = _silent,
) -> Path:
    """A component with the program and installed pure-Python `packages` (distributions) inside.

    Raises `ProgramError` if the program does not compile, `ConfigError` for a package that cannot travel, and as
    `build_interpreter`.
    """
    program.compile()
    files = [SourceFile(program.filename, program.source), *bundle(packages)]
    return _build(list(traits), files, "inferlet", cache, progress)


def _build(
    traits: list[Trait],
    files: Sequence[SourceFile] | None,
    world: str,
    cache: Path,
    progress: Progress,
    prebuilt: Iterable[Path] = (),
) -> Path:
    traits = sorted(traits, key=lambda trait: trait.name)  # whoever loads the same ones finds the same component
    version = _builder_version()
    with tempfile.TemporaryDirectory(prefix="pie-component-") as made:
        wit, code = Path(made, "wit"), Path(made, "code")
        write(wit, traits, world, source=files is None)
        _gather(code, traits, files)
        key = _key((wit, code), (version, world, merging.FORM))
        target = cache / f"{world}-{key}.wasm"
        for found in (directory / target.name for directory in (cache, *prebuilt)):
            if found.exists():
                return found
        log.debug("component.not_prebuilt", wanted=target.name)
        with _lock(cache / f"{world}-{key}.lock"):
            if not target.exists():  # nobody else has built it meanwhile
                progress(f"building the {world} component for {', '.join(t.name for t in traits)} (once, about 15 s)")
                _componentize(wit, code, world, target)
                progress(f"built {target} ({target.stat().st_size / 1e6:.1f} MB)")
    return target


def _gather(code: Path, traits: Sequence[Trait], files: Sequence[SourceFile] | None) -> None:
    """All the Python that goes in."""
    for package in PACKAGES:
        shutil.copytree(_directory(package), code / package, ignore=_not_python)
    interfaces = [*_CORE, *[trait.name for trait in traits]]
    lines = [
        f"DECLARATIONS = {json.dumps(describe(traits))!r}",
        f"MODULES = { {name: f'wit_world.imports.{name.lower()}' for name in interfaces}!r}",
        f"FILES = {None if files is None else json.dumps(files)!r}",
    ]
    (code / BAKED).write_text("\n".join(lines) + "\n", "utf-8")
    immortal.write(code)


def _not_python(directory: str, names: list[str]) -> list[str]:
    """What `copytree` leaves out: all but folders and source files."""
    return [name for name in names if name == "__pycache__" or not _is_source(Path(directory, name))]


def _is_source(path: Path) -> bool:
    return path.suffix == ".py" or path.is_dir()


def _directory(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PieError(f"the package {package!r} is not installed; pip install pie-inferlet-sdk")
    return Path(spec.submodule_search_locations[0])


def _builder_version() -> str:
    try:
        return importlib.metadata.version(BUILDER)
    except importlib.metadata.PackageNotFoundError:
        raise PieError(
            f"{BUILDER} is not installed, and Python programs need it once to run in the sandbox: "
            f"pip install {BUILDER}, or run trusted programs with --native"
        ) from None


def _key(trees: Iterable[Path], more: Iterable[str]) -> str:
    """A hash of files, their names and whatever else decides what is built."""
    digest = hashlib.blake2b(digest_size=16)
    for tree in trees:
        for path in sorted(tree.rglob("*")):
            if path.is_file():
                _add(digest, str(path.relative_to(tree)).encode())
                _add(digest, path.read_bytes())
    for text in more:
        _add(digest, text.encode())
    return digest.hexdigest()


def _add(digest: hashlib.blake2b, part: bytes) -> None:
    digest.update(len(part).to_bytes(8, "little"))
    digest.update(part)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a file's lock, which goes with the process that holds it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise ConfigError(f"the cache {path.parent} cannot be written: {error}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _componentize(wit: Path, code: Path, world: str, target: Path) -> None:
    nothing = code.parent / "venv"  # with no VIRTUAL_ENV it would take in all of this Python's site-packages
    for library in ("lib", "Lib"):
        (nothing / library / "site-packages").mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}.part")
    command = [sys.executable, "-c", _RUN, "-d", str(wit), "-w", world, "componentize", ENTRY]
    try:
        ran = subprocess.run(  # noqa: S603  # our own interpreter and arguments
            [*command, "-p", str(code), "-o", str(part)],
            capture_output=True,
            text=True,
            errors="replace",
            cwd=code,
            env={**os.environ, "VIRTUAL_ENV": str(nothing), "RUST_BACKTRACE": "0", "RUST_LIB_BACKTRACE": "0"},
            timeout=_LONGEST_S,
            check=False,
        )
        if ran.returncode != 0 or not part.exists():
            last = "\n".join((ran.stdout + ran.stderr).splitlines()[-_LAST_LINES:])
            raise PieError(f"{BUILDER} failed with status {ran.returncode}; its last lines:\n{last}")
        merge_modules(part)
        part.replace(target)
    except subprocess.TimeoutExpired:
        raise PieError(f"{BUILDER} was stopped after {_LONGEST_S:.0f} s; it usually takes about 15 s") from None
    finally:
        part.unlink(missing_ok=True)


def merge_modules(path: Path) -> None:
    """Make one module of those that the builder has linked: each program takes less memory and runs faster then.

    A component that merging does not know stays as it is.
    """
    try:
        merged = merge(path.read_bytes())
    except NotMergeableError as error:
        log.warning("component.not_merged", reason=f"{BUILDER} made {error}, which merging does not know")
    else:
        path.write_bytes(merged)
