"""What the benchmarks take from the packages is there: most of them run nowhere but on a quiet machine, or a GPU."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("file", [str(file.relative_to(BENCHMARKS)) for file in sorted(BENCHMARKS.rglob("*.py"))])
def test_a_benchmark_imports_what_there_is(file: str) -> None:
    for node in ast.walk(ast.parse((BENCHMARKS / file).read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("pie_", "inferlet.")):
            assert node.module is not None
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name) or find_spec(f"{node.module}.{name.name}"), (node.module, name.name)


def test_the_one_that_puts_steps_of_its_own_into_the_handler_sees_them() -> None:
    few = ["--widths", "2", "--step-ms", "0.2", "--rounds", "1"]
    ran = subprocess.run([sys.executable, BENCHMARKS / "exposed.py", *few], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    steps = {row["how"]: row["steps"] for row in map(json.loads, ran.stdout.splitlines())}
    assert steps.keys() == {"whole", "together", "apart", "streamed", "handed on"} and min(steps.values()) >= 67
