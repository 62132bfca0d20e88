"""Compiled components on disk: each is compiled once, for all servers of this machine's user and across restarts.

An entry is a directory named after the component's bytes and the engine's settings. It appears and goes by a
rename, so nobody sees half of one. Its code is run unchecked by wasmtime, so a checksum is compared before, and a
cache that other users could write to is refused. What installed packages bring along (`prebuilt`) is trusted as they
are, and never changed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec
import structlog
from wasmtime import Engine, WasmtimeError
from wasmtime.component import Component

from pie_core.application.component import digest_of
from pie_core.application.wasm.compile import CompileLimits, check_kind, compile_component
from pie_core.application.wasm.compile_worker import CODE, FACTS, FORMAT, Facts, checksum, shorten
from pie_core.application.wasm.engine import fingerprint
from pie_core.errors import ConfigError, ProgramError, ResourceError
from pie_core.inference.backend import Progress

log = structlog.get_logger(__name__)

COMPONENTS = "components"
UNFINISHED = ".unfinished-"
ABANDONED_S = 3600.0  # an unfinished entry this old belongs to a server that is gone
REFUSALS = 1024  # remembered at most
_DIGEST = re.compile("[0-9a-f]{64}")  # and nothing that could name another file


@dataclass(frozen=True)
class CompiledComponent:
    """A component ready to be mapped into memory by `Component.deserialize_file`."""

    path: Path  # of the native code
    digest: str  # of the WebAssembly bytes
    imports: tuple[str, ...]  # names, such as pie:core/runtime@1.0.0
    compiled_s: float  # seconds that compiling took just now; 0: it was in the cache


@dataclass(frozen=True)
class _Refusal:
    """A program that does not compile is not tried again at once, however often it is sent."""

    message: str
    until: float  # on the monotonic clock


def default_directory() -> Path:
    """Where compiled components are kept unless an option says otherwise."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return base / "pie-core" / COMPONENTS


class ComponentCache:
    """Compiled components by content. Used from one event loop; several servers may share the directory."""

    def __init__(
        self,
        directory: Path | None = None,
        limits: CompileLimits | None = None,
        *,
        max_bytes: int = 4 << 30,  # of native code; the entries unused for longest go first
        refused_s: float = 600.0,  # for this long a refused program is refused without a new trial
        prebuilt: Sequence[Path] = (),  # directories of packages, laid out as the one that this one lies in
    ) -> None:
        """Make the directory if need be. Raises `ConfigError` if it cannot be used safely."""
        self.directory = _private(directory or default_directory())
        self.limits = limits or CompileLimits()
        self.max_bytes = max_bytes
        self.prebuilt = tuple(prebuilt)
        self._refused_s = refused_s
        self._fingerprint = f"{fingerprint()}-{FORMAT}"  # other versions' entries are not ours to read or to remove
        self._refusals: dict[str, _Refusal] = {}
        self._verified: dict[Path, tuple[int, ...]] = {}  # entries of which the checksum has been compared
        self._unusable: set[Path] = set()  # prebuilt entries that are not for this machine
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._places = asyncio.Semaphore(self.limits.at_once)

    async def get(self, wasm: bytes | Path, progress: Progress | None = None) -> CompiledComponent:
        """The compiled form of a component, from the cache or compiled now in a child process.

        Requests for the same bytes share one compilation. Raises `ProgramError` saying why it is refused.
        """
        data = await asyncio.to_thread(_read, wasm) if isinstance(wasm, Path) else wasm
        check_kind(data, self.limits)
        digest = await asyncio.to_thread(digest_of, data)
        lock = self._locks.setdefault(digest, asyncio.Lock())
        async with lock:
            found = await asyncio.to_thread(self._find, digest)
            if found is None:
                found = await self._compile(data, digest, progress)
        return found

    async def find(self, digest: str) -> CompiledComponent | None:
        """The component with this `digest_of` its bytes, if it is in the cache: no need to send those again."""
        return await asyncio.to_thread(self._find, digest) if _DIGEST.fullmatch(digest) else None

    async def load(
        self, engine: Engine, wasm: bytes | Path, progress: Progress | None = None
    ) -> tuple[Component, CompiledComponent]:
        """`get`, and map the code into memory. An entry that `engine` cannot use is compiled again, once."""
        compiled = await self.get(wasm, progress)
        try:
            return await asyncio.to_thread(_map, engine, compiled), compiled
        except WasmtimeError as error:
            log.warning("component.unusable", component=compiled.digest, error=shorten(str(error)))
            await asyncio.to_thread(self._give_up, compiled.path.parent)
        compiled = await self.get(wasm, progress)
        return await asyncio.to_thread(_map, engine, compiled), compiled

    async def _compile(self, wasm: bytes, digest: str, progress: Progress | None) -> CompiledComponent:
        self._raise_if_refused(digest)
        report = _silent if progress is None else progress
        report(f"compiling a component of {len(wasm) / 1e6:.1f} MB, once", None)
        started = time.monotonic()
        unfinished = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=UNFINISHED, dir=self.directory))
        try:
            async with self._places:
                await compile_component(wasm, unfinished, self.limits)
            await asyncio.to_thread(self._publish, unfinished, digest)
        except ProgramError as error:
            self._remember(digest, str(error))
            raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        found = await asyncio.to_thread(self._find, digest)
        if found is None:
            raise ResourceError(f"what is written to the component cache {self.directory} does not stay as written")
        seconds = time.monotonic() - started
        report(f"compiled a component in {seconds:.1f} s", 1.0)
        log.info("component.compiled", component=digest, wasm_bytes=len(wasm), seconds=round(seconds, 2))
        return replace(found, compiled_s=seconds)

    def _raise_if_refused(self, digest: str) -> None:
        refusal = self._refusals.get(digest)
        if refusal is not None and time.monotonic() < refusal.until:
            raise ProgramError(refusal.message)

    def _remember(self, digest: str, message: str) -> None:
        self._refusals.pop(digest, None)
        if len(self._refusals) >= REFUSALS:
            del self._refusals[next(iter(self._refusals))]
        self._refusals[digest] = _Refusal(message, time.monotonic() + self._refused_s)

    # What follows runs in worker threads, for one digest at a time.

    def _find(self, digest: str) -> CompiledComponent | None:
        """Our entry, marked as used, or else one of a package. One that is damaged is given up."""
        name = self._name(digest)
        places = [self.directory, *(directory / COMPONENTS for directory in self.prebuilt)]
        for entry in (place / name for place in places):
            if os.path.lexists(entry) and entry not in self._unusable:
                found = self._open(entry, digest)
                if found is not None:
                    return found
        return None

    def _name(self, digest: str) -> str:
        return f"{digest}-{self._fingerprint}"

    def _open(self, entry: Path, digest: str) -> CompiledComponent | None:
        try:
            facts = msgspec.json.decode((entry / FACTS).read_bytes(), type=Facts)
            if self._is_sound(entry, facts):
                if self._is_ours(entry):
                    os.utime(entry)
                return CompiledComponent(entry / CODE, digest, facts.imports, 0.0)
            reason = "it does not have its checksum"
        except (OSError, ValueError, msgspec.DecodeError) as error:  # ValueError: it is not UTF-8
            reason = str(error)
        log.warning("component.damaged", component=digest, path=str(entry), error=reason)
        self._give_up(entry)
        return None

    def _is_ours(self, entry: Path) -> bool:
        return entry.parent == self.directory

    def _give_up(self, entry: Path) -> None:
        """Have an entry no longer found: ours is taken away, a package's is left as it is."""
        if self._is_ours(entry):
            self._remove(entry)
        else:
            self._unusable.add(entry)

    def _is_sound(self, entry: Path, facts: Facts) -> bool:
        """Whether the code is what the compiler wrote. Compared once, and again if the file has changed."""
        status = (entry / CODE).stat()
        identity = (status.st_ino, status.st_size, status.st_mtime_ns)
        if self._verified.get(entry) == identity:
            return True
        if checksum((entry / CODE).read_bytes(), facts.imports) != facts.checksum:
            return False
        self._verified[entry] = identity
        return True

    def _publish(self, unfinished: Path, digest: str) -> None:
        """Make a finished directory an entry, unless another server was faster; then make room."""
        entry = self.directory / self._name(digest)
        try:
            unfinished.rename(entry)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise ResourceError(f"the component cache {self.directory} cannot be written: {error}") from error
        self._evict(keep=entry)

    def _evict(self, keep: Path) -> None:
        """Remove what has not been used for longest until the rest fits, and what dead servers left behind."""
        entries = sorted(self._entries(), key=lambda entry: entry.used, reverse=True)
        total = 0
        for entry in entries:
            total += entry.size
            abandoned = entry.path.name.startswith(UNFINISHED)
            if abandoned or (total > self.max_bytes and entry.path != keep):
                log.info("component.evicted", entry=entry.path.name, bytes=entry.size)
                self._remove(entry.path)

    def _entries(self) -> Iterator[_Entry]:
        now = time.time()
        for path in self.directory.iterdir():
            try:
                used = path.stat().st_mtime
                if not path.name.startswith(UNFINISHED):
                    yield _Entry(path, used, sum(file.stat().st_size for file in path.iterdir()))
                elif now - used > ABANDONED_S:
                    yield _Entry(path, used, 0)
            except (FileNotFoundError, NotADirectoryError):  # another server removed it; or it is none of ours
                continue

    def _remove(self, entry: Path) -> None:
        """Take an entry away at once. Servers that have mapped its code keep it."""
        self._verified.pop(entry, None)
        grave = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.directory))
        with suppress(FileNotFoundError):  # another server was faster
            entry.rename(grave / entry.name)
        shutil.rmtree(grave, ignore_errors=True)


@dataclass(frozen=True)
class _Entry:
    path: Path
    used: float  # seconds since the epoch
    size: int  # bytes


def _private(directory: Path) -> Path:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        raise ConfigError(f"{directory} cannot be the component cache: {error}; choose another directory") from error
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o022:
        raise ConfigError(
            f"{directory} cannot be the component cache, because other users can write to it and this server runs "
            f"what is in it; chmod 700 it, or choose another directory"
        )
    return directory


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ProgramError(f"{path} cannot be read: {error.strerror}") from error


def _map(engine: Engine, compiled: CompiledComponent) -> Component:
    return Component.deserialize_file(engine, str(compiled.path))


def _silent(stage: str, share: float | None) -> None:
    """Progress for nobody."""
