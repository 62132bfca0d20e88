"""What the benchmarks take from the packages is there: most of them run nowhere but on a quiet machine, or a GPU."""

from __future__ import annotations

import ast
import importlib
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
