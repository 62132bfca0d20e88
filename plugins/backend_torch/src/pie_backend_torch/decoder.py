"""What a way of running a model offers to the backend: the seam between `lean`, `generic` and everything else."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from pie_backend_torch.kernels import Kernels
from pie_backend_torch.pool import KvPool, LayerShape
from pie_backend_torch.step import Step


class Decoder(Protocol):
    """A decoder-only model with its weights. Called from the device thread, in inference mode."""

    implementation: str  # "lean" or "generic"
    vocab_size: int
    hidden_size: int
    max_position: int
    layers: tuple[LayerShape, ...]
    kernels: Kernels  # those it runs on; of `generic`, attention and the choice of tokens alone
    dtype: torch.dtype
    device: torch.device
    seeing: Any  # the part of a transformers model that makes image features, where that was loaded with it; or None

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [n] -> vectors [n, hidden], as `hidden` wants them."""

    def hidden(self, x: Tensor, step: Step, pool: KvPool) -> Tensor:
        """Vectors [tokens, hidden] -> hidden states [tokens, hidden] after the final norm.

        Writes the keys and values of the new tokens to the pool. The step was placed on the pool before. What is in `x`
        is not kept.
        """

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [n, hidden] -> scores [n, vocab] in float32, with everything the model does to them."""
