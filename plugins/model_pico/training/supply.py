"""Batches of pictures and text, made ahead by processes; how hard they are follows the clock that training follows."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
from corpus import document
from packing import Packer
from rows import PicturePacker, PictureRows, Rows
from tokenizers import Tokenizer
from torch.utils.data import DataLoader, IterableDataset, get_worker_info


@dataclass(frozen=True)
class Clock:
    """`started` is a reading of the monotonic clock, which all processes of a machine share."""

    started: float
    seconds: float

    def progress(self) -> float:
        return (time.monotonic() - self.started) / self.seconds


@dataclass(frozen=True)
class Size:
    """Of a batch: rows of pictures, and shares of text (2,048 tokens each)."""

    rows: int
    shares: int


@dataclass(frozen=True)
class Batch:
    pictures: PictureRows
    text: Rows


class Batches(IterableDataset[Batch]):
    """Never ends. Text is the corpus of the first stage with its final mixture."""

    def __init__(self, tokenizer: Tokenizer, clock: Clock, size: Size, seed: int) -> None:
        self._tokenizer_json = tokenizer.to_str()
        self._clock, self._size, self._seed = clock, size, seed

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        rng = Random(f"{self._seed} {0 if info is None else info.id}")
        tokenizer = Tokenizer.from_str(self._tokenizer_json)
        pictures = PicturePacker(tokenizer, rng, self._size.rows)
        text = Packer(tokenizer, lambda progress: document(rng, progress), self._size.shares)
        while True:
            yield Batch(pictures.next_batch(self._clock.progress()), _text_rows(text))


def _text_rows(packer: Packer) -> Rows:
    batch = packer.next_batch(1.0)
    tensors = (batch.tokens, batch.labels, batch.positions, batch.documents)
    tokens, labels, positions, documents = (tensor.numpy().astype(np.int16) for tensor in tensors)
    return Rows(tokens, labels, positions, documents, np.zeros_like(tokens))


def batches(source: Batches, workers: int) -> Iterator[Batch]:
    """Made by `workers` processes (0: by this one). Arrays go through pipes: tensors would need much shared memory."""
    return iter(DataLoader(source, batch_size=None, num_workers=workers, collate_fn=_as_it_is))


def _as_it_is(batch: Batch) -> Batch:
    return batch
