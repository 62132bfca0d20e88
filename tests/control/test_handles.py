"""Handles stay within 32 bits and are never given out while they are in use."""

from __future__ import annotations

from pie_core.control.layer import HIGHEST_HANDLE
from pie_core.testing.rig import make_rig


def test_numbers_start_anew_and_pass_over_those_in_use() -> None:
    rig = make_rig()
    program = rig.open()
    first = program.call("alloc_emb", 3)
    rig.layer._last_handle = HIGHEST_HANDLE - 1
    later = program.call("alloc_emb", 4)
    assert later[0] == HIGHEST_HANDLE
    assert not set(first) & set(later)
    assert all(0 < handle <= HIGHEST_HANDLE for handle in later)
    program.call("dealloc_emb", first + later)
    assert rig.layer.spaces["a"].holds(next(kind for kind in rig.layer.kinds if kind.kind == "embed")) == 0
