"""The package pie-fake: `FakeBackend` as a plugin, so that servers and commands can be tested as they are installed."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from pie_core import BackendSpec, HandlerSpec, ModelSpec, Progress, ResourceError, hookimpl
from pie_core.testing import FakeBackend, fake_handlers


class FakeOptions(msgspec.Struct, frozen=True):
    """gate: a named pipe to wait for while loading. fail: do not load, with this message."""

    pages: int = 64
    embeds: int = 256
    answer: str | None = None
    gate: str | None = None
    fail: str | None = None


def load(spec: ModelSpec, options: FakeOptions, progress: Progress) -> FakeBackend:
    progress("weights", 0.5)
    if options.gate is not None:
        Path(options.gate).read_text()
    if options.fail is not None:
        raise ResourceError(options.fail)
    return FakeBackend(options.pages, options.embeds, answer=options.answer)


@hookimpl
def pie_backend() -> BackendSpec:
    return BackendSpec("fake", "Hashes instead of tensors.", FakeOptions, load)


@hookimpl
def pie_handlers() -> Sequence[HandlerSpec]:
    return fake_handlers()


@hookimpl
def pie_model() -> ModelSpec:
    return ModelSpec("fake", Path(__file__).parent / "checkpoint", "Hashes instead of tensors.")
