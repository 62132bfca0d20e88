"""A program: its source or component, where it came from, what it needs. Checked as far as possible before launch."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType

import structlog

from pie_core.application.component import MAGIC, MANIFEST, digest_of, read_section
from pie_core.application.manifest import Manifest, parse_manifest, read_manifest
from pie_core.errors import PluginError, ProgramError, nearest
from pie_core.plugins import Plugin, Selection, discover, load, preferred, select

SDK = "inferlet"
SUFFIXES = (".py", ".wasm")
log = structlog.get_logger(__name__)
_UNCOMPILABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True)
class Program:
    """Python source that defines `async def main()`; or a WebAssembly component, which has no source."""

    name: str
    source: str
    filename: str  # as tracebacks name it
    wasm: bytes | None = None

    @cached_property
    def manifest(self) -> Manifest:
        """What it says about itself. Raises `ProgramError`."""
        if self.wasm is None:
            return read_manifest(self.source, self.filename)
        raw = read_section(self.wasm, MANIFEST, self.filename) or b""
        return parse_manifest(raw.decode(errors="replace"), f"{self.filename}: its section {MANIFEST!r}")

    @cached_property
    def digest(self) -> str:
        """The name of its component. Takes a millisecond for each megabyte, the first time."""
        assert self.wasm is not None
        return digest_of(self.wasm)

    def compile(self) -> CodeType:
        """Byte code. Raises `ProgramError` with line and column, or if there is no `async def main`, or no source."""
        if self.wasm is not None:
            raise only_sandboxed(self.filename)
        tree = self._parse()
        mains = [n for n in tree.body if isinstance(n, ast.AsyncFunctionDef | ast.FunctionDef) and n.name == "main"]
        if not mains:
            raise ProgramError(f"{self.filename} defines no `main`; a program starts at `async def main():`")
        if not isinstance(mains[-1], ast.AsyncFunctionDef):
            raise ProgramError(f"{self.filename}:{mains[-1].lineno}: `main` must be `async def main():`")
        if mains[-1].args.args or mains[-1].args.kwonlyargs:
            raise ProgramError(f"{self.filename}:{mains[-1].lineno}: `main` takes no arguments; use get_arg()")
        try:
            return compile(tree, self.filename, "exec", dont_inherit=True)
        except _UNCOMPILABLE as error:  # what only the compiler sees: `return` outside a function
            raise self._refusal(error) from error

    def calls(self, known: Iterable[str]) -> set[str]:
        """Which of the `known` calls the source imports from the SDK or uses as attributes of it."""
        if self.wasm is not None:
            return set()  # what a component imports, the sandbox knows
        tree, names = self._parse(), set(known)
        modules = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
            if alias.name == SDK
        }
        used: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == SDK:
                imported = {alias.name for alias in node.names}
                used |= _names(tree) & names if "*" in imported else imported & names
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                used |= {node.attr} & names
        return used

    def _parse(self) -> ast.Module:
        try:
            return ast.parse(self.source, self.filename)
        except _UNCOMPILABLE as error:
            raise self._refusal(error) from error

    def _refusal(self, error: BaseException) -> ProgramError:
        at, what = "", str(error)
        if isinstance(error, SyntaxError):
            at, what = f":{error.lineno}:{error.offset}", error.msg
        return ProgramError(f"{self.filename}{at} does not compile: {type(error).__name__}: {what}")


def only_sandboxed(what: str) -> ProgramError:
    """Why a component does not run where programs are not isolated."""
    return ProgramError(
        f"{what} is a WebAssembly component and runs in the sandbox only; start `pie-core run`, or the server, without "
        "--native"
    )


def _names(tree: ast.Module) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def find_program(what: str, selection: Selection | None = None) -> Program:
    """A program by path, or by the name of an installed one. Raises `ProgramError` naming near names."""
    path = Path(what)
    if path.suffix in SUFFIXES or path.exists():
        return read_program(path)
    installed = installed_programs(selection or Selection())
    if what not in installed:
        raise ProgramError(f"no program file and no installed program is named {what!r}{nearest(what, installed)}")
    return read_program(installed[what])


def read_program(path: Path) -> Program:
    """Read a program file, source or component. Raises `ProgramError`."""
    if path.is_dir():
        raise ProgramError(f"{path} is a directory; name the program's .py or .wasm file")
    try:
        if path.suffix == ".wasm" or _starts_as_wasm(path):
            return Program(path.stem, "", str(path), path.read_bytes())
        return Program(path.stem, path.read_text("utf-8"), str(path))
    except FileNotFoundError as error:
        raise ProgramError(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ProgramError(f"{path} cannot be read as UTF-8 text: {error}") from error


def _starts_as_wasm(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@dataclass(frozen=True)
class Installed:
    """A program that a package brings."""

    path: Path
    plugin: Plugin


def installed_programs(selection: Selection) -> dict[str, Path]:
    """Where the programs of installed packages are, by name; see `find_installed`."""
    return {name: program.path for name, program in find_installed(selection).items()}


def find_installed(selection: Selection) -> dict[str, Installed]:
    """Programs of installed packages, by name: the .py and .wasm files of their directories, `_*` left out.

    A package that fails is a warning. Two programs of one name are an error that says how to choose.
    """
    found: dict[str, Installed] = {}
    for plugin in select(discover("inferlets"), selection):
        try:
            directory = _load_directory(plugin)
        except PluginError as error:
            log.warning("plugin.failed", plugin=plugin.name, package=plugin.package, error=str(error))
            continue
        for path in sorted(path for path in directory.glob("[!_]*") if path.suffix in SUFFIXES):
            program, rival = Installed(path, plugin), found.get(path.stem)
            found[path.stem] = program if rival is None else _choose(rival, program, selection)
    return found


def _load_directory(plugin: Plugin) -> Path:
    directory = load(plugin)
    if not isinstance(directory, Path) or not directory.is_dir():
        raise PluginError(f"{plugin} registers {directory!r:.100}, not the path of a directory")
    return directory


def _choose(rival: Installed, program: Installed, selection: Selection) -> Installed:
    one, other, name = rival.plugin, program.plugin, program.path.stem
    if one == other:
        raise PluginError(f"{one} brings a program {name!r} twice: {rival.path} and {program.path}; name the file")
    chosen = preferred((one, other), selection.prefer)
    if chosen is None:
        raise PluginError(
            f"packages {one.package} and {other.package} both bring a program {name!r}; choose one (--prefer "
            f"{other.package}), leave one out (--without inferlets.{one.name} or --without inferlets.{other.name}), or "
            f"name the file ({program.path})"
        )
    return rival if chosen == one else program
