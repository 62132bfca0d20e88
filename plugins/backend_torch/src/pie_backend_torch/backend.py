"""The loaded model as the control layer sees it: facts, pools and lifetime. The work is in `handlers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from pie_traits_text.forward import Forward
from pie_traits_text.output_text import GetNextDist
from torch import Tensor

from pie_backend_torch.decoder import Decoder
from pie_backend_torch.device import describe
from pie_backend_torch.graphs import Graphs
from pie_backend_torch.places import ImageTokens, Places
from pie_backend_torch.pool import KvPool, lazy_zeros
from pie_backend_torch.selection import Selection
from pie_backend_torch.swapper import TorchSwapper
from pie_backend_torch.tokenizer import Tokenizer
from pie_backend_torch.upload import indices
from pie_backend_torch.vision.opening import Sight
from pie_backend_torch.vision.seeing import TorchVision
from pie_core.command import Command
from pie_core.errors import UnsupportedError
from pie_core.inference.backend import Backend
from pie_core.model import ModelInfo
from pie_core.resource import Embed, KvPage, Resource

MOST_ROWS = 65536  # of a batch of light commands
LOGITS_BYTES = 256 << 20  # of one batch of distributions


class TorchBackend(Backend):
    """A model on one device with its pools. Handlers use `decoder`, `pool`, `embeds`, `tokenizer` and `selection`.

    `embeds` is [Embeds + 1, hidden], a row per physical index, and one where rows of padding read and write. `graphs`
    are for whoever launches the same again and again.
    """

    def __init__(
        self,
        info: ModelInfo,
        decoder: Decoder,
        tokenizer: Tokenizer,
        pages: int,
        embeds: int,
        max_batch_tokens: int,
        selection: Selection,
        sight: Sight | None = None,  # with what its checkpoint would see; None: it does not
    ) -> None:
        self._sight = sight
        self._info = info
        self._max_batch_tokens = max_batch_tokens
        self.decoder = decoder
        self.tokenizer = tokenizer
        self.selection = selection
        self.pool = KvPool(decoder.layers, pages, info.kvpage_size, decoder.dtype, decoder.device)
        self._embeds = embeds
        self.embeds: Tensor = lazy_zeros((embeds + 1, decoder.hidden_size), decoder.dtype, decoder.device)
        self.graphs = Graphs(decoder.device)
        self.places: Places | None = None  # what is to be said of an Embed besides its position, once a model sees
        self._swapper = TorchSwapper(self.pool, [self.embeds])

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def capacity(self) -> Mapping[type[Resource], int]:
        return {KvPage: self.pool.pages, Embed: self._embeds}

    def batch_limit(self, command: type[Command]) -> int:
        if issubclass(command, Forward):
            return self._max_batch_tokens
        if issubclass(command, GetNextDist):
            return max(1, LOGITS_BYTES // (4 * self._info.vocab_size))
        return MOST_ROWS

    @property
    def scratch_embed(self) -> int:
        """The row of `embeds` that is nobody's."""
        return self._embeds

    @property
    def device(self) -> str:
        return describe(self.decoder.device, self.decoder.dtype)

    @property
    def swapper(self) -> TorchSwapper:
        return self._swapper

    def open_vision(self) -> TorchVision:
        """See `pie_traits_image.vision.SeesImages`."""
        if self._sight is None:
            raise UnsupportedError("it was made without a checkpoint to read a vision tower from")
        family = self._sight.family()
        if family.sees_whole or family.has_axes:
            self.places = Places(len(self.embeds), family.has_axes, self.decoder.device)
            self.pool.keep_orders()
            self._swapper = TorchSwapper(self.pool, [self.embeds, *self.places.tensors])
        open_eyes = partial(self._sight.open, self.decoder, self.tokenizer)
        vision = TorchVision(open_eyes, self._sight.limits, self.decoder, self.write_image)
        if self.decoder.seeing is not None:  # transformers runs it and has read the tower: nothing to wait with
            vision.open()
        return vision

    def write_image(self, rows: Sequence[int], vectors: Tensor, image: ImageTokens) -> None:
        """Put the vectors [n, hidden] of an image into the Embeds `rows`, in order."""
        self.embeds.index_copy_(0, indices(rows, self.decoder.device), vectors)
        if self.places is not None:
            self.places.put_image(rows, image)

    def close(self) -> None:
        """Free the weights and the pools. The backend must not be used afterwards."""
        cuda = self.decoder.device.type == "cuda"
        del self.decoder, self.pool, self.embeds, self.graphs, self._swapper
        if cuda:
            torch.cuda.empty_cache()
