"""How the system lays out the memory of large tensors."""

from __future__ import annotations

import os


def use_huge_pages() -> None:
    """Have torch ask for transparent huge pages for tensors of 2 MiB and more that are not on a GPU.

    Weights are read whole at every step, in pages of 4 KiB or 2 MiB: a product of one row with a head of 128,256 tokens
    took 4 to 6% less time. (numpy asks for the pools.) Torch reads this variable when it makes its first tensor: later
    calls have no effect. A value that is set already stays. Linux alone has them, where the system allows it
    (`madvise` or `always` in /sys/kernel/mm/transparent_hugepage/enabled).
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
