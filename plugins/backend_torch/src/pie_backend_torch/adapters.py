"""The adapters of one model while it loads: checks that they fit, and puts their terms on its linear layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pie_backend_torch.adapter_files import AdapterFacts, check_fit
from pie_backend_torch.linear import Linear, LinearMaker
from pie_backend_torch.low_rank import AdaptedLinear, AdaptedModule, Terms, make_low_rank
from pie_backend_torch.selection import Selection


class Adapters:
    """Adapters by name. `selection` says during a pass which rows are theirs; the layers made here look at it."""

    def __init__(self, facts: Sequence[AdapterFacts], dtype: torch.dtype, device: torch.device) -> None:
        self.selection = Selection([adapter.name for adapter in facts], device)
        self._facts = facts
        self._dtype, self._device = dtype, device
        self._maker = LinearMaker()
        self._tensors: dict[str, dict[str, Tensor]] = {}

    def check(self, layers: Mapping[str, Sequence[int]]) -> None:
        """Raise `CheckpointError` unless all fit a model with these linear layers: name -> shape (out, in)."""
        for adapter in self._facts:
            check_fit(adapter, layers)

    def on_linear(self, base: Linear, layers: Sequence[str], widths: Sequence[int]) -> Linear:
        """`base` with the terms for `layers`, whose outputs it gives side by side; `base` itself if there are none."""
        terms = self._terms(layers, widths)
        return AdaptedLinear(base, make_low_rank(terms, self.selection, self._maker), self.selection) if terms else base

    def on_modules(self, model: nn.Module) -> None:
        """Put the terms on the modules of a transformers model, in place. `check` was called."""
        for layer in sorted({layer for adapter in self._facts for layer in adapter.targets}):
            width = next(a.targets[layer].shape[0] for a in self._facts if layer in a.targets)
            low_rank = make_low_rank(self._terms([layer], [width]), self.selection, self._maker)
            path, _, name = layer.rpartition(".")
            parent = model.get_submodule(path)
            setattr(parent, name, AdaptedModule(getattr(parent, name), low_rank, self.selection))

    def loaded(self) -> None:
        """All layers are made; lets go of the files' tensors."""
        self._tensors.clear()

    def _terms(self, layers: Sequence[str], widths: Sequence[int]) -> Terms:
        """Of adjacent layers as if they were one: downs stacked, ups along the diagonal."""
        found = {}
        for adapter in self._facts:
            pairs = [self._pair(adapter, layer) for layer in layers]
            downs = [pair[0] for pair in pairs if pair is not None]
            if downs:
                ups = [torch.zeros(w, 0) if p is None else p[1] for p, w in zip(pairs, widths, strict=True)]
                up = torch.block_diag(*ups)  # type: ignore[no-untyped-call]  # not typed by torch
                found[adapter.name] = (self._placed(torch.cat(downs)), self._placed(up))
        return found

    def _pair(self, adapter: AdapterFacts, layer: str) -> tuple[Tensor, Tensor] | None:
        target = adapter.targets.get(layer)
        if target is None:
            return None
        if adapter.name not in self._tensors:
            self._tensors[adapter.name] = load_file(adapter.weights)
        tensors = self._tensors[adapter.name]
        return tensors[target.down].float(), tensors[target.up].float() * target.scale

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(dtype=self._dtype, device=self._device)
