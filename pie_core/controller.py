"""The core in one object: plugins, registry, model, control layer and application, put together and taken apart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
import structlog

from pie_core.application.application import Application
from pie_core.application.capabilities import Capabilities
from pie_core.application.limits import Limits
from pie_core.application.native import NativeTier
from pie_core.application.program import installed_programs
from pie_core.application.quotas import Quotas
from pie_core.application.runtime import RUNTIME
from pie_core.application.services import Services
from pie_core.application.store.store import Store, default_directory
from pie_core.application.tier import Tier
from pie_core.control.dispatch import ADAPTIVE
from pie_core.control.environment import Environment
from pie_core.control.space import Space
from pie_core.control.swap_policy import SWAP
from pie_core.errors import CheckpointError, PieError, PluginError, TerminatedError
from pie_core.inference.backend import BackendSpec, Progress
from pie_core.inference.device import ThreadDevice
from pie_core.inference.watching import watched
from pie_core.loaded import LoadedModel, assemble
from pie_core.model import ModelSpec
from pie_core.plugins import Kind, Plugin, Selection, discover, install_hint, load, select, select_named
from pie_core.policies import (
    PolicyChoice,
    find_policy,
    fit_contention,
    make_contention,
    make_dispatch,
    parse_options,
)
from pie_core.registry import Realization, load_handlers, load_registry, realize
from pie_core.tracing.file import TraceFile
from pie_core.tracing.recorder import Recorder
from pie_core.trait import Trait

log = structlog.get_logger(__name__)


TierName = Literal["native", "wasm"]


@dataclass(frozen=True)
class Settings:
    """What to serve and how. None: the only one installed, or the default among several.

    `model` is the name of a model plugin or a checkpoint directory; `options` are those of the backend, as text.
    """

    model: str | None = None
    backend: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)
    limits: Limits = field(default_factory=Limits)
    quotas: Quotas = field(default_factory=Quotas)
    dispatch: PolicyChoice = field(default_factory=PolicyChoice)
    contention: PolicyChoice = field(default_factory=PolicyChoice)
    tier: TierName = "wasm"  # the sandbox; "native" trusts every program
    state_dir: Path | None = None  # where programs' texts are kept; None: the usual place of the user
    capabilities: Capabilities = field(default_factory=Capabilities)  # the most that a program can be granted
    trace_file: Path | None = None  # where a trace of all that happens is written


class Controller:
    """A running core. `async with Controller(settings) as controller: await controller.application.launch(...)`."""

    def __init__(self, settings: Settings, progress: Progress = lambda stage, share: None) -> None:
        self._settings = settings
        self._progress = progress
        self.models: dict[str, LoadedModel] = {}
        self.programs: Mapping[str, Path] = {}  # installed, by name
        self.application: Application
        self._trace: TraceFile | None = None

    async def __aenter__(self) -> Self:
        store = Store(self._settings.state_dir or default_directory())
        await asyncio.to_thread(store.check)  # a mistake shows before a model is loaded for minutes
        self.programs = await asyncio.to_thread(installed_programs, self._settings.selection)
        recorder = None
        if self._settings.trace_file is not None:
            self._trace = TraceFile(self._settings.trace_file, time.monotonic)
            recorder = Recorder(self._trace.put, time.monotonic)
        try:
            model = await load_model(self._settings, self._evicted, self._progress, recorder)
        except BaseException:
            await self._end_trace()
            raise
        self.models[model.info.name] = model
        tier = make_tier(self._settings, model.known_traits, self._progress)
        self.application = Application(
            self.models,
            tier,
            self._settings.limits,
            capabilities=self._settings.capabilities,
            services=Services(store=store, programs=self.programs),
            sandbox=lambda: make_sandbox(self._settings, model.known_traits, self._progress),
            observer=recorder,
            quotas=self._settings.quotas,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop all inferlets, then the devices. Idempotent."""
        await self.application.shut_down("the server shuts down")
        for model in self.models.values():
            await asyncio.to_thread(model.close)
        self.models.clear()
        await self._end_trace()

    async def _end_trace(self) -> None:
        if self._trace is not None:
            await asyncio.to_thread(self._trace.close)

    def _evicted(self, space: Space, why: TerminatedError) -> None:
        self.application.evicted(space, why)


def make_tier(settings: Settings, traits: Iterable[Trait], progress: Progress) -> Tier:
    """The tier that runs programs."""
    return NativeTier() if settings.tier == "native" else make_sandbox(settings, traits, progress)


def make_sandbox(settings: Settings, traits: Iterable[Trait], progress: Progress) -> Tier:
    """The sandboxed tier. It is imported only where it is wanted."""
    from pie_core.application.wasm.cache import ComponentCache
    from pie_core.application.wasm.compile import CompileLimits
    from pie_core.application.wasm.prebuilt import find_prebuilt
    from pie_core.application.wasm.tier import WasmTier

    # The interpreter must fit whatever the limit is.
    most = max(settings.limits.component_bytes, CompileLimits().wasm_bytes)
    cache = ComponentCache(limits=CompileLimits(wasm_bytes=most), prebuilt=find_prebuilt(settings.selection))
    return WasmTier(traits, cache, progress=lambda text: progress(text, None))


async def load_model(
    settings: Settings, evicted: Any, progress: Progress, recorder: Recorder | None = None
) -> LoadedModel:
    """Load the model of `settings` on its backend and put a control layer around it. Raises `PieError`."""
    started = time.monotonic()
    selection = settings.selection
    plugin = select_named("backends", settings.backend or choose("backends", selection), selection)
    model = find_model(settings.model, selection)
    registry = load_registry(selection, reserved=dict.fromkeys(RUNTIME.signatures, RUNTIME.name))
    progress("backend", None)
    spec = await asyncio.to_thread(load_backend_spec, plugin)
    options = parse_options(f"backend {spec.name!r}", spec.options, settings.options)
    dispatch = make_dispatch(settings.dispatch, selection)
    contention = make_contention(settings.contention, selection)
    handlers = await asyncio.to_thread(load_handlers, spec.name, plugin.package, selection)
    backend = await asyncio.to_thread(spec.load, model, options, progress)
    try:
        realization = realize(registry, handlers, spec.name, backend)
        contention = fit_contention(contention, settings.contention, backend)
    except PieError:
        await asyncio.to_thread(backend.close)
        raise
    loop = asyncio.get_running_loop()
    observer = None if recorder is None else recorder.model(model.name, realization.traits.values())

    def make_device(realized: Realization) -> ThreadDevice:
        routes = realized.routes if observer is None else watched(realized.routes, time.monotonic, observer.ran)
        return ThreadDevice(routes, loop.call_soon_threadsafe, realized.rides)

    loaded = assemble(
        backend,
        realization,
        make_device,
        Environment(time.monotonic, loop.call_soon, evicted, loop.call_later),
        dispatch,
        contention,
    )
    if observer is not None:
        loaded.layer.observers.add(observer)
    log.info(
        "model.ready",
        model=model.name,
        backend=spec.name,
        device=backend.device,
        dispatch=dispatch.name,
        contention=contention.name,
        traits=list(realization.traits),
        seconds=round(time.monotonic() - started, 2),
    )
    return loaded


def load_backend_spec(plugin: Plugin) -> BackendSpec:
    """What a backend plugin registers. Raises `PluginError`."""
    spec = load(plugin)
    if not isinstance(spec, BackendSpec):
        raise PluginError(f"{plugin} registers a {type(spec).__name__}, not a BackendSpec")
    return spec


def option_fields(setting: str, settings: Settings) -> type[msgspec.Struct]:
    """The options that there are of the plugin that `settings` choose. setting: which of them holds its options.

    Raises `PluginError` if it cannot be found or loaded.
    """
    selection = settings.selection
    match setting:
        case "dispatch_options":
            return find_policy("dispatch", settings.dispatch, selection, ADAPTIVE).options
        case "contention_options":
            return find_policy("contention", settings.contention, selection, SWAP).options
    name = settings.backend or choose("backends", selection)
    return load_backend_spec(select_named("backends", name, selection)).options


def find_model(name: str | None, selection: Selection) -> ModelSpec:
    """A checkpoint directory, or an installed model plugin by name."""
    if name is None:
        name = choose("models", selection)
    path = Path(name).expanduser()
    if path.is_dir():
        return ModelSpec(path.resolve().name, path)
    if "/" in name:
        raise CheckpointError(f"{name} is not a directory; name a checkpoint directory or an installed model")
    spec = load(select_named("models", name, selection))
    if not isinstance(spec, ModelSpec):
        raise PluginError(f"models plugin {name!r} registers a {type(spec).__name__}, not a ModelSpec")
    return spec


def choose(kind: Kind, selection: Selection) -> str:
    """The name of the plugin of a kind to use where none is named: the only one installed, or the one default.

    Raises `PluginError` that says how to choose.
    """
    plugins = select(discover(kind), selection)
    what = kind.removesuffix("s")
    if not plugins:
        raise PluginError(f"no {what} is installed. {install_hint(kind)}")
    defaults = plugins if len(plugins) == 1 else [plugin for plugin in plugins if _is_default(plugin)]
    if len(defaults) == 1:
        return defaults[0].name
    names = ", ".join(plugin.name for plugin in plugins)
    raise PluginError(f"several {kind} are installed ({names}); name the {what} to use")


def _is_default(plugin: Plugin) -> bool:
    try:
        return bool(getattr(load(plugin), "default", False))
    except PluginError as error:
        log.warning("plugin.failed", plugin=plugin.name, package=plugin.package, error=str(error))
        return False
