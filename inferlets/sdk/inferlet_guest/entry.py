"""The module that the builder names to componentize-py: joins the generated bindings to the app.

`wit_world` is generated from the world's WIT. `inferlet_baked` is written by the builder: `DECLARATIONS` (JSON),
`MODULES` (the names of the generated modules, by trait), `FILES` (JSON, or None when the program comes through
`source`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

import componentize_py_runtime
import inferlet_baked
import wit_world
from componentize_py_types import Err, Ok

from inferlet_guest import heap, standard_library
from inferlet_guest.app import App, FailedProgramError
from inferlet_guest.modules import File
from inferlet_guest.rehearsal import Rehearsal

RESERVE = 256 << 10  # bytes; untouched, they take no memory
TYPES = import_module(inferlet_baked.MODULES["types"])
standard_library.load()


class WorldImports:
    """See `inferlet_guest.host.Imports`."""

    failure: type[Exception] = Err

    def function(self, trait: str, name: str) -> Callable[..., Any]:
        """See `inferlet_guest.host.Imports.function`."""
        found: Callable[..., Any] = getattr(import_module(inferlet_baked.MODULES[trait]), name)
        return found

    def mask(self, rows: int, cols: int, data: bytes) -> Any:
        """See `inferlet_guest.host.Imports.mask`."""
        return TYPES.Mask(rows, cols, data)


def _files() -> list[File] | None:
    return None if inferlet_baked.FILES is None else [File(*file) for file in json.loads(inferlet_baked.FILES)]


DECLARATIONS = json.loads(inferlet_baked.DECLARATIONS)
IMPORTS = WorldImports()
APP = App(IMPORTS, DECLARATIONS, _files())


class WitWorld(wit_world.WitWorld):  # type: ignore[misc]  # generated
    """What componentize-py exports."""

    def run(self) -> str | None:
        """See the world."""
        try:
            return APP.run()
        except FailedProgramError as failed:
            told = str(failed)
        except BaseException as error:  # such as a MemoryError where a traceback was to be made
            told = f"{type(error).__name__}: {error}"
        raise Err(TYPES.Error("program", told))  # out here, where what the program held is free again


# The last things before the snapshot.
FILLING = heap.settle(Rehearsal(APP, IMPORTS, DECLARATIONS, componentize_py_runtime, Ok))
APP.reserve.append(bytes(RESERVE))  # not immortal
