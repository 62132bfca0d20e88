"""Modules that travel with a program as text: importable by name, with their lines in tracebacks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import CodeType, ModuleType
from typing import NamedTuple

_PACKAGE = "/__init__.py"


class File(NamedTuple):
    """`name` is a path as an import finds it (`tabulate/__init__.py`); for the program, as tracebacks show it."""

    name: str
    text: str


class BundledModules(MetaPathFinder, InspectLoader):
    """Finds and loads modules among bundled files. Compiles each once, ahead if asked to."""

    def __init__(self, files: Iterable[File]) -> None:
        self._files: Mapping[str, File] = {_module_of(file.name): file for file in files}
        self._compiled: dict[str, CodeType] = {}

    def compile_all(self) -> None:
        """Compile them now. Raises `SyntaxError`."""
        for name in self._files:
            self.get_code(name)

    def install(self) -> None:
        """Make them importable."""
        if self._files:
            sys.meta_path.append(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `MetaPathFinder.find_spec`."""
        file = self._files.get(fullname)
        if file is None:
            return self._namespace(fullname)
        spec = spec_from_loader(fullname, self, origin=file.name, is_package=self.is_package(fullname))
        assert spec is not None
        spec.has_location = True  # for `__file__`, and lines in tracebacks
        return spec

    def _namespace(self, fullname: str) -> ModuleSpec | None:
        """A folder of modules without an `__init__.py`."""
        if any(name.startswith(f"{fullname}.") for name in self._files):
            return ModuleSpec(fullname, None, is_package=True)
        return None

    def is_package(self, fullname: str) -> bool:
        """See `InspectLoader.is_package`."""
        return self._file(fullname).name.endswith(_PACKAGE)

    def get_source(self, fullname: str) -> str:
        """See `InspectLoader.get_source`."""
        return self._file(fullname).text

    def get_code(self, fullname: str) -> CodeType:
        """See `InspectLoader.get_code`."""
        code = self._compiled.get(fullname)
        if code is None:
            file = self._file(fullname)
            code = self._compiled[fullname] = compile(file.text, file.name, "exec", dont_inherit=True)
        return code

    def _file(self, fullname: str) -> File:
        try:
            return self._files[fullname]
        except KeyError:
            raise ImportError(f"no module {fullname!r} was bundled with the program", name=fullname) from None


def _module_of(name: str) -> str:
    return name.removesuffix(_PACKAGE).removesuffix(".py").replace("/", ".")
