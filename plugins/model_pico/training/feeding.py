"""Batches of text, drawn and packed by processes of their own, in an order that the seed alone decides."""

from collections.abc import Iterator
from random import Random

from corpus import document
from packing import Batch, Packer
from tokenizers import Tokenizer
from torch.utils.data import DataLoader, IterableDataset, get_worker_info


class Batches(IterableDataset[Batch]):
    """The batches of `steps` steps. Worker w of n makes those of the steps w, w + n, ...; the loader takes turns."""

    def __init__(self, tokenizer: Tokenizer, steps: int, seed: int, shares: int) -> None:
        self._tokenizer_json = tokenizer.to_str()
        self._steps, self._seed, self._shares = steps, seed, shares

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        rng = Random(f"{self._seed} {worker} of {workers}")
        tokenizer = Tokenizer.from_str(self._tokenizer_json)
        packer = Packer(tokenizer, lambda progress: document(rng, progress), self._shares)
        for step in range(worker, self._steps, workers):
            yield packer.next_batch(step / self._steps)


def batches(tokenizer: Tokenizer, steps: int, seed: int, shares: int, workers: int, device: str) -> Iterator[Batch]:
    """On the device, made ahead by `workers` processes (0: by this one, when they are asked for)."""
    source = Batches(tokenizer, steps, seed, shares)
    loader: DataLoader[Batch] = DataLoader(source, batch_size=None, num_workers=workers, pin_memory=device != "cpu")
    return (batch.to(device) for batch in loader)
