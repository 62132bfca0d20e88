"""A program: its source, where it came from, what it needs. Checked as far as possible before it is launched."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

from pie_core.application.manifest import Manifest, read_manifest
from pie_core.errors import PluginError, ProgramError, nearest
from pie_core.plugins import Selection, discover, load, select

SDK = "inferlet"


@dataclass(frozen=True)
class Program:
    """Python source that defines `async def main()`."""

    name: str
    source: str
    filename: str  # as tracebacks name it

    @property
    def manifest(self) -> Manifest:
        """What it says about itself."""
        return read_manifest(self.source, self.filename)

    def compile(self) -> CodeType:
        """Byte code. Raises `ProgramError` with line and column, or if there is no `async def main`."""
        tree = self._parse()
        mains = [n for n in tree.body if isinstance(n, ast.AsyncFunctionDef | ast.FunctionDef) and n.name == "main"]
        if not mains:
            raise ProgramError(f"{self.filename} defines no `main`; a program starts at `async def main():`")
        if not isinstance(mains[-1], ast.AsyncFunctionDef):
            raise ProgramError(f"{self.filename}:{mains[-1].lineno}: `main` must be `async def main():`")
        if mains[-1].args.args or mains[-1].args.kwonlyargs:
            raise ProgramError(f"{self.filename}:{mains[-1].lineno}: `main` takes no arguments; use get_arg()")
        return compile(tree, self.filename, "exec", dont_inherit=True)

    def calls(self, known: Iterable[str]) -> set[str]:
        """Which of the `known` calls the source imports from the SDK or uses as attributes of it."""
        tree, names = self._parse(), set(known)
        used: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == SDK:
                imported = {alias.name for alias in node.names}
                used |= _names(tree) & names if "*" in imported else imported & names
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == SDK:
                used |= {node.attr} & names
        return used

    def _parse(self) -> ast.Module:
        try:
            return ast.parse(self.source, self.filename)
        except (SyntaxError, ValueError, RecursionError) as error:
            at = f":{error.lineno}:{error.offset}" if isinstance(error, SyntaxError) else ""
            raise ProgramError(f"{self.filename}{at} does not compile: {error}") from error


def _names(tree: ast.Module) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def find_program(what: str, selection: Selection | None = None) -> Program:
    """A program by path, or by the name of an installed one. Raises `ProgramError` naming near names."""
    path = Path(what)
    if path.suffix == ".py" or path.exists():
        return read_program(path)
    installed = installed_programs(selection or Selection())
    if what not in installed:
        raise ProgramError(f"no program file and no installed program is named {what!r}{nearest(what, installed)}")
    return read_program(installed[what])


def read_program(path: Path) -> Program:
    """Read a program file. Raises `ProgramError`."""
    if path.is_dir():
        raise ProgramError(f"{path} is a directory; name the program's .py file")
    try:
        return Program(path.stem, path.read_text("utf-8"), str(path))
    except FileNotFoundError as error:
        raise ProgramError(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ProgramError(f"{path} cannot be read as UTF-8 text: {error}") from error


def installed_programs(selection: Selection) -> dict[str, Path]:
    """Programs of installed packages, by name."""
    found: dict[str, Path] = {}
    for plugin in select(discover("inferlets"), selection):
        directory = load(plugin)
        if not isinstance(directory, Path):
            raise PluginError(f"{plugin} registers a {type(directory).__name__}, not a directory")
        for path in sorted(directory.glob("*.py")):
            if not path.name.startswith("_"):
                found.setdefault(path.stem, path)
    return found
