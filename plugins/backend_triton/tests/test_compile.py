"""Every kernel compiles for Hopper and Ampere, and fits there, with no GPU at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMPILING = Path(__file__).with_name("compiling.py")
KERNELS = Path(__file__).parents[1] / "src" / "pie_backend_triton" / "ops"


@pytest.mark.parametrize("capability", [90, 80])
def test_every_kernel_compiles(capability: int, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, str(COMPILING), str(capability)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    defined = {
        line.removeprefix("def ").partition("(")[0]
        for file in KERNELS.glob("*.py")
        for line in file.read_text("utf-8").splitlines()
        if line.startswith("def ") and "_kernel(" in line
    }
    assert {line.partition(" ")[0] for line in done.stdout.splitlines()} == defined
