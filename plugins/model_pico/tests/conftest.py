"""The training folder's modules, which are scripts and no package: importable in a file of tests, then forgotten."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

PLUGINS = Path(__file__).parents[2]
TRAINING = Path(__file__).parents[1] / "training"
NAMES = ["corpus", "examples", "model", "optimizers", "packing", "pictures", "rows", "steps", "supply"]


@pytest.fixture(scope="module")
def training() -> Iterator[Any]:
    """The modules by name."""
    path, known = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(TRAINING))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    sys.path[:] = path
    for name in set(sys.modules) - known:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(PLUGINS):
            del sys.modules[name]
