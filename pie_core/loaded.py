"""A model that is loaded and served: backend, realized traits, control layer, device, under one name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pie_core.control.contention import ContentionPolicy
from pie_core.control.dispatch import DispatchPolicy
from pie_core.control.environment import Environment
from pie_core.control.layer import ControlLayer
from pie_core.inference.backend import Backend
from pie_core.inference.device import Device
from pie_core.model import ModelInfo
from pie_core.registry import Realization
from pie_core.trait import Trait

DeviceFactory = Callable[[Realization], Device]


@dataclass(frozen=True)
class LoadedModel:
    """Immutable wiring; the state is in the parts."""

    backend: Backend
    realization: Realization
    device: Device
    layer: ControlLayer

    @property
    def info(self) -> ModelInfo:
        """Facts about the model."""
        return self.backend.info

    @property
    def traits(self) -> dict[str, Trait]:
        """What it really has."""
        return self.realization.traits

    @property
    def known_traits(self) -> Iterable[Trait]:
        """Every installed trait, whether this model has it or not."""
        return self.realization.known.values()

    def close(self) -> None:
        """Stop the device thread, then free what handlers hold and the backend."""
        self.device.close()
        self.realization.close()
        self.backend.close()


def assemble(
    backend: Backend,
    realization: Realization,
    device: DeviceFactory,
    environment: Environment,
    dispatch: DispatchPolicy,
    contention: ContentionPolicy,
) -> LoadedModel:
    """Put a control layer and a device around a loaded backend."""
    served = device(realization)
    layer = ControlLayer(
        backend.info,
        realization.capacity,
        realization.calls,
        realization.answers,
        served,
        backend.batch_limit,
        environment,
        dispatch,
        contention,
        backend.swapper,
    )
    return LoadedModel(backend, realization, served, layer)
