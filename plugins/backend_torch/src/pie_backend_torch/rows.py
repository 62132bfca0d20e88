"""How many rows a pass has on a CPU: rounded up, so that few shapes ever occur.

oneDNN makes code for each shape of a matrix product: some 0.6 MB and 3 to 6 ms for each number of rows and kind of
layer, kept in a cache of 1024. With every number of rows a server would grow by hundreds of MB over its first hours and
stumble at each new one. Rounded to four sizes per power of two, a pass has at most a quarter more rows than asked for.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

EXACT = 8  # numbers of rows up to this one stay as they are


def rounded(rows: int) -> int:
    """The number of rows that `rows` become: 1 to 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, ..."""
    if rows <= EXACT:
        return rows
    step = 1 << ((rows - 1).bit_length() - 3)
    return -(-rows // step) * step


def pad_rows(x: Tensor) -> Tensor:
    """x [rows, ...] with zero rows appended up to the rounded number; as it is where shapes cost nothing."""
    missing = rounded(x.shape[0]) - x.shape[0] if x.device.type == "cpu" else 0
    return x if missing == 0 else functional.pad(x, [0, 0] * (x.dim() - 1) + [0, missing])
