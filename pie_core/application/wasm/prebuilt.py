"""Interpreters that packages bring along, built and compiled when the package was made.

Without one, the first run on a machine spends half a minute making the interpreter. A package names a directory through
the entry-point group `pie_core.interpreters`; the directory is laid out like the cache, and what lies in it is found,
like there, by the hash of all that went into it. So one that was made for other traits or versions is never used by
mistake: it is not found, and the interpreter is made as if the package were not there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import structlog

from pie_core.application.component import digest_of
from pie_core.application.wasm.cache import COMPONENTS
from pie_core.application.wasm.compile_worker import FORMAT, compile_into
from pie_core.application.wasm.engine import fingerprint, portable_config
from pie_core.application.wasm.interpreter import Progress, build_interpreter
from pie_core.errors import PluginError
from pie_core.plugins import Plugin, Selection, discover, load, select
from pie_core.trait import Trait

log = structlog.get_logger(__name__)


def find_prebuilt(selection: Selection) -> list[Path]:
    """The directories of the installed packages. One that fails is a warning: its interpreter can be made here."""
    found = []
    for plugin in select(discover("interpreters"), selection):
        try:
            found.append(_directory(plugin))
        except PluginError as error:
            log.warning("plugin.failed", plugin=plugin.name, package=plugin.package, error=str(error))
    return found


def _directory(plugin: Plugin) -> Path:
    directory = load(plugin)
    if not isinstance(directory, Path):
        raise PluginError(f"{plugin} registers a {type(directory).__name__}, not the Path of a directory")
    return directory


def prebuild(traits: Iterable[Trait], directory: Path, cache: Path, progress: Progress) -> None:
    """Write what a package brings for these traits: the component, and code for all machines of this one's kind.

    The component is taken from `cache`, or built there. Takes about 25 s. Raises `PieError` as `build_interpreter` and
    `portable_config`.
    """
    config = portable_config()
    built = build_interpreter(traits, cache, progress)
    wasm = built.read_bytes()
    progress("compiling the interpreter for any machine of this kind (about 10 s)")
    entry = directory / COMPONENTS / f"{digest_of(wasm)}-{fingerprint()}-{FORMAT}"
    entry.mkdir(parents=True)
    compile_into(entry, wasm, config)
    shutil.copyfile(built, directory / built.name)
