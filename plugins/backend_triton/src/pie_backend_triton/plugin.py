"""What the package registers: the backend `triton`, with the handlers of the torch backend over it.

Hooks return records only; torch and Triton are imported when a model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import handlers_for

from pie_core.hookspecs import hookimpl
from pie_core.inference.backend import BackendSpec, HandlerSpec, Progress

if TYPE_CHECKING:
    from pie_backend_torch.building import TorchBackend

    from pie_core.model import ModelSpec


def load(spec: ModelSpec, options: TorchOptions, progress: Progress) -> TorchBackend:
    """Load a checkpoint. Raises `ConfigError`, `CheckpointError`, `UnsupportedError` or `ResourceError`."""
    from pie_backend_torch.building import load_backend
    from pie_backend_torch.kernels import Recipe

    from pie_backend_triton.kernels import make_kernels

    return load_backend(spec, options, progress, Recipe("triton", make_kernels, generic=False))


@hookimpl
def pie_backend() -> BackendSpec:
    return BackendSpec(
        name="triton",
        doc="The Llama family on Triton kernels over a paged KV pool, on a CUDA GPU.",
        options=TorchOptions,
        load=load,
    )


@hookimpl
def pie_handlers() -> Sequence[HandlerSpec]:
    return handlers_for("triton")
