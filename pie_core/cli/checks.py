"""What `pie-core doctor` looks at. Each check finds out by doing, and says what to do if it goes wrong."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, get_args

import psutil

from pie_core.application.events import Ended
from pie_core.application.program import Program
from pie_core.cli.plugins import find_clashes, problem_of
from pie_core.controller import Controller, Settings
from pie_core.errors import PieError
from pie_core.model import ModelSpec
from pie_core.plugins import Kind, Plugin, Selection, discover, install_hint, load, select
from pie_core.server.events import events_of

GIB = 1 << 30
LEAST_MEMORY = GIB  # free, below which even a small model may not fit
SMALLEST_WEIGHTS = 4096  # bytes; a file below that is a pointer to one that was not downloaded

PROGRAM = """
from inferlet import get_auto_model

async def main():
    with get_auto_model().create_context() as context:
        await context.fill("The capital of France is")
        return await context.generate_until(max_token=4)
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    status: Literal["ok", "warn", "fail"]
    text: str


def installation(selection: Selection) -> Iterator[Finding]:
    """All that can be checked without loading a model."""
    yield Finding("ok", f"Python {platform.python_version()} at {sys.executable}")
    yield from _distributions()
    yield _memory()
    found = [p for kind in get_args(Kind) for p in discover(kind) if f"{p.kind}.{p.name}" not in selection.without]
    yield from _clashes(found, selection)
    for plugin in found:
        problem = problem_of(plugin)
        yield Finding("fail", problem) if problem else Finding("ok", f"{plugin} loads")
    for kind in ("traits", "backends", "models"):
        if not any(plugin.kind == kind for plugin in found):
            yield _nothing(kind)
    yield from _checkpoints(selection)


async def generation(settings: Settings) -> Finding:
    """A few tokens through plugins, backend, control layer and a program."""
    started = time.monotonic()
    try:
        async with Controller(settings) as controller:
            (model,) = controller.models.values()
            where = f"model {model.info.name!r} on {model.backend.device}"
            loaded = time.monotonic()
            inferlet = await controller.application.launch(Program("doctor", PROGRAM, "doctor.py"))
            async for event in events_of(inferlet):
                if isinstance(event, Ended) and event.status != "finished":
                    return Finding("fail", f"{where}: a small program {event.status}: {event.error}")
            ended = time.monotonic()
    except PieError as error:
        return Finding("fail", f"generation: {error}")
    text = f"{where}: loaded in {loaded - started:.1f} s, generated {inferlet.returned or _value(inferlet.outcome)!r}"
    return Finding("ok", f"{text} in {ended - loaded:.2f} s")


def _value(outcome: Ended | None) -> str | None:
    return None if outcome is None else outcome.value


def _distributions() -> Iterator[Finding]:
    for name in ("pie-core", "pie-inferlet-sdk"):
        try:
            yield Finding("ok", f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            yield Finding("fail", f"{name} is not installed; pip install {name}")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    text = f"{psutil.cpu_count()} CPUs, {memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB of memory free"
    if memory.available < LEAST_MEMORY:
        return Finding("warn", f"{text}: little; end other programs, or use a small model with --option pages=...")
    return Finding("ok", text)


def _clashes(plugins: list[Plugin], selection: Selection) -> Iterator[Finding]:
    for (kind, name), problem in find_clashes(plugins).items():
        try:
            select([plugin for plugin in plugins if (plugin.kind, plugin.name) == (kind, name)], selection)
        except PieError:
            yield Finding("fail", f"{kind}.{name} is {problem}")


def _nothing(kind: Kind) -> Finding:
    hint = install_hint(kind)
    if kind == "models":
        return Finding("warn", f"no model is installed: give a checkpoint directory with --model, or {hint}")
    return Finding("fail", f"no {kind} plugin is installed: {hint}")


def _checkpoints(selection: Selection) -> Iterator[Finding]:
    for plugin in select(discover("models"), selection):
        try:
            spec = load(plugin)
        except PieError:
            continue  # reported with the plugins
        if isinstance(spec, ModelSpec):
            yield _checkpoint(spec)
        else:
            yield Finding("fail", f"{plugin} registers a {type(spec).__name__}, not a ModelSpec; ask its authors")


def _checkpoint(spec: ModelSpec) -> Finding:
    where = f"checkpoint of model {spec.name!r} in {spec.path}"
    missing = [name for name in ("config.json", "tokenizer.json") if not (spec.path / name).is_file()]
    weights = [(path, path.stat().st_size) for path in sorted(Path(spec.path).glob("*.safetensors"))]
    if missing or not weights:
        return Finding(
            "fail", f"{where}: {', '.join(missing or ['*.safetensors'])} is missing; install its package again"
        )
    for path, size in weights:
        if size < SMALLEST_WEIGHTS:
            return Finding("fail", f"{where}: {path.name} has {size} bytes; is it a Git LFS pointer? `git lfs pull`")
    return Finding("ok", f"{where}: {sum(size for _, size in weights) / 1e6:.1f} MB of weights")
