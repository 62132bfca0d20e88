"""Documents packed into rows of fixed lengths, so that the compiled model sees four shapes and little padding."""

from collections.abc import Callable
from dataclasses import astuple, dataclass, field

import torch
from corpus.example import Span
from tokenizers import Tokenizer
from torch import Tensor

IGNORED = -100
ROWS_BY_LENGTH = {128: 16, 256: 8, 512: 4, 1024: 2}  # row length in tokens -> rows of a share of a batch


@dataclass(frozen=True)
class Batch:
    """All [rows, length]. `labels` holds the token to predict at each place, IGNORED where none is trained."""

    tokens: Tensor
    labels: Tensor
    positions: Tensor
    documents: Tensor

    def pin_memory(self) -> "Batch":
        """A copy that a device can fetch by itself; the data loader calls it."""
        return Batch(*(tensor.pin_memory() for tensor in astuple(self)))

    def to(self, device: str) -> "Batch":
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in astuple(self)))

    def attention_mask(self) -> Tensor:
        """Additive [rows, 1, length, length] in bfloat16: causal, and never across documents."""
        same = self.documents[:, :, None] == self.documents[:, None, :]
        allowed = same & torch.ones_like(same[0]).tril()
        mask = torch.zeros(allowed.shape, dtype=torch.bfloat16, device=allowed.device)
        return mask.masked_fill_(~allowed, -1e9)[:, None]


@dataclass
class _Row:
    tokens: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    documents: list[int] = field(default_factory=list)

    def add(self, tokens: list[int], labels: list[int]) -> None:
        number = self.documents[-1] + 1 if self.documents else 0
        self.tokens += tokens
        self.labels += labels
        self.positions += range(len(tokens))
        self.documents += [number] * len(tokens)


def encode(tokenizer: Tokenizer, spans: list[Span]) -> tuple[list[int], list[int]]:
    """The tokens of a document and, for each, the next token if that one is trained, else IGNORED."""
    tokens: list[int] = []
    trained: list[bool] = []
    for span in spans:
        ids = tokenizer.encode(span.text).ids
        tokens += ids
        trained += [span.trained] * len(ids)
    following = [token if train else IGNORED for token, train in zip(tokens, trained, strict=True)]
    return tokens, [*following[1:], IGNORED]


class Packer:
    """Draws documents until the rows of one length are full, and hands those out as a batch of some shares."""

    def __init__(self, tokenizer: Tokenizer, next_document: Callable[[float], list[Span]], shares: int) -> None:
        self._tokenizer = tokenizer
        self._next_document = next_document
        self._open = {length: [_Row() for _ in range(rows * shares)] for length, rows in ROWS_BY_LENGTH.items()}

    def next_batch(self, progress: float) -> Batch:
        while True:
            tokens, labels = encode(self._tokenizer, self._next_document(progress))
            length = next((length for length in ROWS_BY_LENGTH if len(tokens) <= length), None)
            if length is None:
                continue  # longer than the longest row: rare, and worth no padding
            row = self._row_with_room(length, len(tokens))
            if row is not None:
                row.add(tokens, labels)
                continue
            full = self._open[length]
            self._open[length] = [_Row() for _ in full]
            self._open[length][0].add(tokens, labels)
            return _to_batch(full, length)

    def _row_with_room(self, length: int, tokens: int) -> _Row | None:
        return next((row for row in self._open[length] if len(row.tokens) + tokens <= length), None)


def _to_batch(rows: list[_Row], length: int) -> Batch:
    def padded(values: list[int], filling: int) -> list[int]:
        return values + [filling] * (length - len(values))

    return Batch(
        tokens=torch.tensor([padded(row.tokens, 0) for row in rows]),
        labels=torch.tensor([padded(row.labels, IGNORED) for row in rows]),
        positions=torch.tensor([padded(row.positions, 0) for row in rows]),
        documents=torch.tensor([padded(row.documents, IGNORED) for row in rows]),
    )
