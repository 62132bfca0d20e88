"""Puts the programs, every `.py` file of the parent directory, into a wheel; an editable install finds them there."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProgramsHook(BuildHookInterface[Any]):
    """A hook and not a pattern: patterns put files into editable installs too, where they hide the package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See `BuildHookInterface.initialize`."""
        if version != "editable":
            programs = sorted(Path(self.root).glob("*.py"))
            build_data["force_include"] |= {str(path): f"pie_inferlets/{path.name}" for path in programs}
