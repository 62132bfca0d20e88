"""Biases and counts of drawn tokens, by row, on the device, from one step to the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pie_backend_torch.ahead.changes import Changes
from pie_backend_torch.course import Course
from pie_backend_torch.kernels import power_of_two
from pie_backend_torch.step import Ints
from pie_backend_torch.upload import upload

_LEAST_ROWS = 32  # so that what is captured over the tables need not be again and again while programs come
_MOST = torch.finfo(torch.float32).max


class Tables:
    """Biases and counts of the decodes in each row.

    Memory is taken when the first comes that has any, and kept: 8 bytes for each row and token of the vocabulary, for
    32 rows, or as many as a pass had that one of them was in (33 MB for 32 rows at 128,256 tokens).
    """

    def __init__(self, vocab: int, device: torch.device) -> None:
        self._bias = torch.zeros(0, vocab, device=device)
        self._counts = torch.zeros(0, vocab, dtype=torch.int32, device=device)

    def hold(self, rows: int) -> bool:
        """Have room for so many. Whether all is elsewhere now, and what was captured over them good no more."""
        if rows <= len(self._bias):
            return False
        more = max(_LEAST_ROWS, power_of_two(rows)) - len(self._bias)
        self._bias, self._counts = (torch.cat([t, t.new_zeros(more, t.shape[1])]) for t in (self._bias, self._counts))
        return True

    def put(self, rows: Sequence[int], ones: Sequence[Course]) -> None:
        """These decodes have the rows now, of which all tokens are known that they have drawn."""
        clear = [row for row in rows if row < len(self._bias)]
        if not clear:
            return
        biases: dict[int, float] = {}  # by place in the table
        counts: dict[int, int] = {}
        for row, one in zip(rows, ones, strict=True):
            if (change := one.adjustment) is not None:
                first = row * self._bias.shape[1]
                biases |= {first + token: bias for token, bias in change.bias.items()}
                drawn = Counter([*change.seen, *one.tokens] if change.counts else [])
                counts |= {first + token: count for token, count in drawn.items()}
        values: Ints = np.array([*biases.values()], dtype=np.float64).view(np.int64)
        block = np.array([*clear, *biases, *counts, *counts.values()], dtype=np.int64)
        device, lengths = self._bias.device, [len(clear), len(biases), len(counts), len(counts), len(biases)]
        at, biased, counted, count, bias = torch.split(
            upload(torch.from_numpy(np.concatenate([block, values])), device), lengths
        )
        for table, places, there in (
            (self._bias, biased, bias.view(torch.float64).clamp(-_MOST, _MOST).float()),
            (self._counts, counted, count.int()),
        ):
            table.index_fill_(0, at, 0)
            table.view(-1).index_copy_(0, places, there)

    def counts(self, rows: int) -> list[Tensor]:
        """What passes of so many rows write to."""
        return [self._counts[:rows]]

    def of(self, rows: int, presence: Tensor, frequency: Tensor) -> Changes:
        """Those of the first so many rows. presence, frequency: [rows] float64."""
        return Changes(self._bias[:rows], self._counts[:rows], presence, frequency)
