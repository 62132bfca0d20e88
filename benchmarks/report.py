"""One JSON line per row, with machine, versions and commit, so that a figure can be traced; then a table to read."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import psutil

Row = dict[str, Any]
Columns = Mapping[str, str | Callable[[Row], object]]
"""What a cell holds, by the heading of its column: a field of the row, or what is made of the row."""


def machine(device: str = "cpu") -> Row:
    """Where and what this was measured with; on a GPU its name and driver too."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        **({} if device == "cpu" else _gpu()),
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "commit": _commit(),
    }


def emit(row: Row, out: TextIO = sys.stdout) -> Row:
    """Print a row, and give it back, for a table."""
    print(json.dumps(row), file=out, flush=True)
    return row


def print_table(rows: Iterable[Row], columns: Columns, out: TextIO = sys.stderr) -> None:
    """Print rows as a table in Markdown, apart from the JSON lines. A field that a row lacks leaves its cell empty."""
    print(_line(columns), "|---" * len(columns) + "|", sep="\n", file=out)
    for row in rows:
        print(_line(row.get(of) if isinstance(of, str) else of(row) for of in columns.values()), file=out)


def usage(process: psutil.Process) -> dict[str, float]:
    """What a process holds of the system: memory in MB, resident and private to it; mappings; descriptors; threads."""
    return {
        "rss_mb": round(process.memory_info().rss / 1e6, 1),
        "private_mb": round(private_kib(process.pid) * 1024 / 1e6, 1),
        "maps": len(Path(f"/proc/{process.pid}/maps").read_text().splitlines()),
        "fds": process.num_fds(),
        "threads": process.num_threads(),
    }


def private_kib(pid: int) -> int:
    """Memory that a process has written to and shares with nobody."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_Dirty"))


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join('' if cell is None else str(cell) for cell in cells)} |"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _gpu() -> dict[str, str]:
    asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader", "--id=0"]
    name, driver = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip().split(", ")
    return {"gpu": name, "driver": driver}


def _commit() -> str:
    """COMMIT says it where the sources travel without their history."""
    if "COMMIT" in os.environ:
        return os.environ["COMMIT"]
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return done.stdout.strip() or "unknown"
