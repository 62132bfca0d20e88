"""Modules that travel as text are imported as if they lay on a disk."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback

import pytest
from inferlet_guest.modules import BundledModules, File

FILES = [
    File("acme_pack/__init__.py", "from acme_pack.part import double\n"),
    File("acme_pack/part.py", "def double(x):\n    return x + x  # twice\n"),
    File("acme_space/inner/thing.py", "from . import other\nNAME = __name__, other.N\n"),
    File("acme_space/inner/other.py", "N = 1\n"),
    File("acme_single.py", "def fail():\n    raise ValueError('here')\n"),
]


@pytest.fixture
def bundled():
    modules = BundledModules(FILES)
    modules.install()
    yield modules
    sys.meta_path.remove(modules)
    for name in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[name]


@pytest.mark.usefixtures("bundled")
def test_packages_modules_and_folders_are_found():
    assert importlib.import_module("acme_pack").double(2) == 4
    assert importlib.import_module("acme_space.inner.thing").NAME == ("acme_space.inner.thing", 1)
    assert importlib.import_module("acme_pack.part").__file__ == "acme_pack/part.py"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("acme_pack.nothing")


@pytest.mark.usefixtures("bundled")
def test_their_lines_are_in_tracebacks():
    with pytest.raises(ValueError, match="here") as failed:
        importlib.import_module("acme_single").fail()
    text = "".join(traceback.format_exception(failed.value))
    assert 'File "acme_single.py", line 2, in fail\n    raise ValueError' in text
    assert "twice" in inspect.getsource(importlib.import_module("acme_pack.part").double)


def test_what_does_not_compile_is_found_out_ahead():
    with pytest.raises(SyntaxError):
        BundledModules([File("x.py", "x x")]).compile_all()


def test_a_program_without_modules_adds_nothing_to_the_import_system():
    before = list(sys.meta_path)
    BundledModules([]).install()
    assert sys.meta_path == before
