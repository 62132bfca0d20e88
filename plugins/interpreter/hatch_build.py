"""Puts the interpreter component and its code into the wheel, which makes the wheel one for this kind of machine."""

import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.requirements import Requirement
from packaging.tags import platform_tags

TEXT = "pie-traits-text"
SETS = (  # the distributions whose traits an interpreter is for: the least that can be installed, and all of ours
    {TEXT},
    {TEXT, "pie-traits-grammar", "pie-traits-decode", "pie-traits-guided", "pie-traits-image"},
)


class PrebuiltInterpreter(BuildHookInterface):  # type: ignore[type-arg] # its parameter is hatchling's own business
    """Called by hatchling for every wheel of this directory, editable ones included."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the interpreter, unless this is an editable install."""
        if version == "editable":
            return
        check_installed(self.metadata.core.dependencies)
        self._made = Path(tempfile.mkdtemp(prefix="pie-interpreter-"))
        make(self._made, self.app.display_info)
        build_data["force_include"][str(self._made)] = "pie_python_interpreter/prebuilt"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what is in the wheel by now."""
        if version != "editable":
            shutil.rmtree(self._made)


def check_installed(requirements: list[str]) -> None:
    """Raise `RuntimeError` unless this environment has the very versions that the wheel will demand."""
    for text in requirements:
        required = Requirement(text)
        try:
            found = version(required.name)
        except PackageNotFoundError:
            raise RuntimeError(
                f"{required.name} is not installed here, and the interpreter is made with it; build with "
                "--no-build-isolation where all of pie-core is installed (make wheels)"
            ) from None
        if not required.specifier.contains(found, prereleases=True):
            raise RuntimeError(
                f"{required.name} {found} is installed, and pyproject.toml says {required}: an interpreter made with "
                "one does not fit an environment with the other; change either"
            )


def make(directory: Path, tell: Any) -> None:
    """Build and compile an interpreter for each set of which all is installed here."""
    from pie_core.application.wasm.cache import default_directory
    from pie_core.application.wasm.prebuilt import prebuild
    from pie_core.plugins import discover, load

    plugins = list(discover("traits"))
    for packages in SETS:
        if packages <= {plugin.package for plugin in plugins}:
            traits = [load(plugin) for plugin in plugins if plugin.package in packages]
            prebuild(traits, directory, default_directory().parent, tell)


def platform_tag() -> str:
    """Where the wheel can be installed. The code calls no library of the system, so any Linux will do."""
    if platform.system() == "Linux":
        return f"manylinux_2_17_{platform.machine()}"
    return next(iter(platform_tags()))
