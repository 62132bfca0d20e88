"""Sandboxed tier: programs are components on fibers, and Python source runs in the interpreter component."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import structlog
import wasmtime
from wasmtime.component import Component, ComponentInstanceType

from pie_core.application.host import Host
from pie_core.application.limits import Limits
from pie_core.application.program import Program
from pie_core.application.tier import Prepared
from pie_core.application.wasm.cache import ComponentCache
from pie_core.application.wasm.check import ProgramChecker
from pie_core.application.wasm.engine import new_engine
from pie_core.application.wasm.executor import Executor
from pie_core.application.wasm.guest import Guest, GuestLimits
from pie_core.application.wasm.interfaces import host_interfaces
from pie_core.application.wasm.interpreter import build_interpreter
from pie_core.application.wasm.linking import Interface, LinkedComponent, bind_result
from pie_core.application.wasm.session import Session
from pie_core.application.wasm.signature import check_imports
from pie_core.application.wasm.traps import explain_trap
from pie_core.application.wasm.values import MOST_BYTES, Failed
from pie_core.application.wasm.wasi import RESOURCES, GuestExit, wasi_interface
from pie_core.application.wasm.wasi_check import check_wasi
from pie_core.application.wasm.wit import kebab
from pie_core.errors import ProgramError
from pie_core.trait import Trait

log = structlog.get_logger(__name__)

RUN = "run"  # what every program exports
LINKED = 64  # components kept ready to run, besides the interpreter
_LONGEST_ERROR = 65536  # characters


@dataclass(frozen=True)
class Runnable:
    """A linked component, how to read what its `run` returns, and the traits it imports."""

    linked: LinkedComponent
    read: Callable[[int, int], Any]
    traits: Collection[str]


class WasmTier:
    """Runs programs in WebAssembly.

    traits: what programs may import. cache: of compiled components; what is built on the way is kept beside it.
    progress: told of work that takes seconds.
    """

    name = "wasm"
    isolates = True
    most_bytes: int | None = MOST_BYTES

    def __init__(
        self,
        traits: Iterable[Trait],
        cache: ComponentCache | None = None,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._engine = new_engine()
        self._traits = list(traits)
        self._interfaces = host_interfaces(self._traits)
        self._cache = cache or ComponentCache()
        self._progress = progress
        self._checker = ProgramChecker()
        self._executor = Executor(self._engine)
        self._interpreter: Runnable | None = None
        self._interpreting = asyncio.Lock()
        self._components: OrderedDict[str, Runnable] = OrderedDict()  # by digest, the last used one at the end

    async def warm_up(self) -> None:
        """See `Tier.warm_up`: build, compile and link the interpreter, as far as cache and packages lack it."""
        await self._checker.warm_up()
        await self._python()

    async def prepare(self, program: Program, known: Set[str]) -> Prepared:
        """See `Tier.prepare`."""
        found = await self._checker.check(program, known)
        runnable = await self._runnable(program)
        return Prepared(found.manifest, found.calls, () if program.wasm is None else runnable.traits)

    async def run(self, host: Host) -> str | None:
        """See `Tier.run`."""
        runnable = await self._runnable(host.inferlet.program)
        guest = Guest(self._engine, runnable.linked, _limits(host.inferlet.limits), host.inferlet.account)
        guest.session = session = Session(host, _files(host.inferlet.program), lambda: self._executor.wake(guest))
        try:
            guest.instantiate()
            instance = await self._executor.run(guest)
            guest.call(instance, RUN, runnable.read)
            value = await self._executor.run(guest)
        except GuestExit as left:
            if left.good:
                return None
            raise ProgramError("the program exited with a failure status") from left
        except wasmtime.WasmtimeError as trap:
            raise explain_trap(trap, guest.limits) from trap
        finally:
            session.close()
            guest.close()
        if isinstance(value, Failed):
            raise ProgramError(_shortened(value.error.message))
        assert value is None or isinstance(value, str)
        return value

    def close(self) -> None:
        """See `Tier.close`."""
        self._executor.close()
        self._checker.close()

    async def _runnable(self, program: Program) -> Runnable:
        if program.wasm is not None:
            return await self._load_component(program, program.wasm)
        return await self._python()

    async def _python(self) -> Runnable:
        async with self._interpreting:
            if self._interpreter is None:
                self._interpreter = await self._load_interpreter()
        return self._interpreter

    async def _load_component(self, program: Program, wasm: bytes) -> Runnable:
        digest = await asyncio.to_thread(lambda: program.digest)
        if digest not in self._components:
            component, _ = await self._cache.load(self._engine, wasm, lambda stage, share: self._progress(stage))
            if digest not in self._components:  # nobody was faster
                self._components[digest] = self._link(component, f"program {program.name!r}")
        self._components.move_to_end(digest)
        if len(self._components) > LINKED:
            self._components.popitem(last=False)
        return self._components[digest]

    async def _load_interpreter(self) -> Runnable:
        directory = self._cache.directory.parent
        prebuilt = self._cache.prebuilt
        wasm = await asyncio.to_thread(build_interpreter, self._traits, directory, self._progress, prebuilt)
        component, compiled = await self._cache.load(
            self._engine, wasm, lambda stage, share: self._progress("compiling the interpreter (once, about 10 s)")
        )
        log.info("interpreter.ready", digest=compiled.digest[:16], compiled_s=round(compiled.compiled_s, 1))
        return self._link(component, "the interpreter")

    def _link(self, component: Component, who: str) -> Runnable:
        imports: Mapping[str, Any] = component.type.imports(self._engine)
        found = check_imports(imports, self._engine, self._traits, who)
        check_wasi(imports, self._engine, RESOURCES, who)
        interfaces = {
            name: self._interface(name.partition("@")[0])
            for name, item in imports.items()
            if isinstance(item.ty, ComponentInstanceType)
        }
        used = {each.package.name for each in found}
        linked = LinkedComponent(self._engine, component, interfaces, self._executor)
        traits = [trait.name for trait in self._traits if f"pie:{kebab(trait.name, trait.name)}" in used]
        return Runnable(linked, bind_result(component, self._engine, RUN), traits)

    def _interface(self, name: str) -> Interface:
        return wasi_interface(name) if name.startswith("wasi:") else self._interfaces[name]


def _shortened(text: str) -> str:
    """What a program says of its own failure, without the middle if it is too long to be read."""
    half, rest = _LONGEST_ERROR // 2, len(text) - _LONGEST_ERROR
    return text if rest <= 0 else f"{text[:half]}\n... {rest} characters more ...\n{text[-half:]}"


def _limits(limits: Limits) -> GuestLimits:
    return GuestLimits(limits.memory_bytes, limits.table_elements, limits.cpu_s)


def _files(program: Program) -> Sequence[tuple[str, str]]:
    return [(program.filename, program.source)] if program.wasm is None else []
