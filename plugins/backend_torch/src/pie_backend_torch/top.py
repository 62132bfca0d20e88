"""The exact top-k of score rows, ties in the order of ids, whatever else is in the batch."""

from __future__ import annotations

import torch
from torch import Tensor


def top_probabilities(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """See `kernels.Kernels.top`."""
    ids, chosen = top_tokens(logits, count)
    del chosen
    # softmax works row by row; a logsumexp over the matrix would round by where a row lies in it
    return ids, torch.softmax(logits, -1).gather(1, ids)


def top_tokens(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """ids and scores [n, count] of the highest scores of each row of [n, vocab], falling; equal scores by rising id."""
    vocab = logits.shape[1]
    if count == 1:
        scores, ids = logits.max(-1, keepdim=True)  # the first of equal ones, by torch's word
        return ids, scores
    if count == vocab:
        scores, ids = torch.sort(logits, dim=-1, descending=True, stable=True)
        return ids, scores
    return top_by_search(logits, count) if logits.device.type == "cpu" else top_by_keys(logits, count)


def top_by_search(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`top_tokens` by looking for ties and sorting the rows that have some: quick where a look costs nothing."""
    scores, ids = torch.topk(logits, count + 1, dim=-1)  # one more, to see a tie across the edge
    tied = (scores[:, 1:] == scores[:, :-1]).any(-1)
    ids, scores = ids[:, :count].contiguous(), scores[:, :count].contiguous()
    for row in tied.nonzero().flatten().tolist():
        ids[row], scores[row] = _in_order(logits[row], scores[row, -1], count)
    return ids, scores


def top_by_keys(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`top_tokens` of float32 scores over keys that never tie: the score's bits above those of the id.

    Nothing is looked at on the host, and ties, which scores in half precision are full of, cost nothing.
    """
    vocab = logits.shape[1]
    bits = (logits + 0.0).view(torch.int32)  # -0.0 becomes 0.0, its equal
    keys = (bits ^ (bits >> 31 & 0x7FFFFFFF)).to(torch.int64)  # as integers in the order of the floats
    keys <<= 32
    keys |= torch.arange(vocab - 1, -1, -1, device=logits.device)
    ids = vocab - 1 - (torch.topk(keys, count, dim=-1).values & 0xFFFFFFFF)
    return ids, logits.gather(1, ids)


def _in_order(row: Tensor, lowest: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The same for one row [vocab] that has ties; `lowest` is the last score that counts."""
    candidates = (row >= lowest).nonzero().flatten()  # rising ids
    scores, order = torch.sort(row[candidates], descending=True, stable=True)
    return candidates[order[:count]], scores[:count]
