"""What the package registers: the backend `torch` and its handlers of the five text traits.

Hooks return records only; torch is imported when a model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pie_backend_torch.options import TorchOptions
from pie_core.hookspecs import hookimpl
from pie_core.inference.backend import BackendSpec, HandlerSpec, Progress

if TYPE_CHECKING:
    from pie_backend_torch.backend import TorchBackend
    from pie_core.model import ModelSpec


def load(spec: ModelSpec, options: TorchOptions, progress: Progress) -> TorchBackend:
    """Load a checkpoint. Raises `ConfigError`, `CheckpointError`, `UnsupportedError` or `ResourceError`."""
    from pie_backend_torch.load import load_backend

    return load_backend(spec, options, progress)


@hookimpl
def pie_backend() -> BackendSpec:
    return BackendSpec(
        name="torch",
        doc="Any transformers decoder over a paged KV pool, on a CPU or a CUDA GPU.",
        default=True,
        options=TorchOptions,
        load=load,
    )


@hookimpl
def pie_handlers() -> Sequence[HandlerSpec]:
    return handlers_for("torch")


def handlers_for(backend: str) -> Sequence[HandlerSpec]:
    """The handlers of the text traits, for a backend of this name that `building.load_backend` makes. Public."""
    return [HandlerSpec(f"{trait}>=1,<2", backend, build) for trait, build in _BUILDERS.items()]


def _allocate(backend: TorchBackend) -> object:
    from pie_backend_torch.handlers.allocate import AllocateHandler

    return AllocateHandler(backend)


def _forward(backend: TorchBackend) -> object:
    from pie_backend_torch.handlers.forward import ForwardHandler

    return ForwardHandler(backend)


def _input_text(backend: TorchBackend) -> object:
    from pie_backend_torch.handlers.input_text import InputTextHandler

    return InputTextHandler(backend)


def _tokenize(backend: TorchBackend) -> object:
    from pie_backend_torch.handlers.tokenize import TokenizeHandler

    return TokenizeHandler(backend)


def _output_text(backend: TorchBackend) -> object:
    from pie_backend_torch.handlers.output_text import OutputTextHandler

    return OutputTextHandler(backend)


_BUILDERS: dict[str, Callable[[TorchBackend], object]] = {
    "allocate": _allocate,
    "forward": _forward,
    "input_text": _input_text,
    "tokenize": _tokenize,
    "output_text": _output_text,
}
