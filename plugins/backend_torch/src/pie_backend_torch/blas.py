"""How the library behind torch's small matrix products chooses among its kernels."""

from __future__ import annotations

import os


def choose_kernels_by_shape() -> None:
    """Have Intel's MKL choose a kernel by shapes alone, and not by where its operands happen to lie.

    Attention puts operands where there is room in a buffer of its thread, so on some machines a token's result would
    depend on what it was batched with (MKL's "conditional numerical reproducibility"). MKL reads this variable when it
    is first used: later calls have no effect. A value that is set already stays.
    """
    os.environ.setdefault("MKL_CBWR", "AUTO")
