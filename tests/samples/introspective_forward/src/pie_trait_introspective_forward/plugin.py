"""What the package registers. Hooks return records; torch is imported when a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pie_core import HandlerSpec, Trait, hookimpl
from pie_trait_introspective_forward.declaration import INTROSPECTIVE_FORWARD

if TYPE_CHECKING:
    from pie_backend_torch.building import TorchBackend


@hookimpl
def pie_trait() -> Trait:
    return INTROSPECTIVE_FORWARD


@hookimpl
def pie_handlers() -> Sequence[HandlerSpec]:
    return [HandlerSpec("introspective_forward>=1,<2", "torch", _build)]


@hookimpl
def pie_programs() -> Path:
    return Path(__file__).parent / "inferlets"


def _build(backend: TorchBackend) -> object:
    from pie_trait_introspective_forward.handler import IntrospectiveForwardHandler

    return IntrospectiveForwardHandler(backend)
