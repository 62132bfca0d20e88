"""The rehearsal before the snapshot: it runs to its end with whatever traits there are, and leaves nothing behind."""

import asyncio
import linecache
import sys
from types import SimpleNamespace

import pytest
from inferlet.host import current
from inferlet_guest.app import MODULE, App
from inferlet_guest.modules import File
from inferlet_guest.rehearsal import Rehearsal

from pie_core.application.interface import describe

PLAIN = {"wait", "drop", "sleep"}  # of those that the program needs; the others return a `result`


class Err(Exception):
    """What a generated function raises."""


class Generated:
    """Imports as componentize-py writes them: functions that leave by a number; `left`: who did."""

    failure = Err

    def __init__(self, has_source):
        self.runtime = SimpleNamespace(call_import=self.leave)
        self.left, self._made, self._has_source = [], {}, has_source

    def leave(self, number, arguments):
        raise AssertionError(f"import {number} of {list(self._made)} left the component while it was built")

    def function(self, trait, name):
        if trait == "source" and not self._has_source:
            raise ModuleNotFoundError(trait)
        if (trait, name) not in self._made:
            self._made[trait, name] = self._make(len(self._made), name)
        return self._made[trait, name]

    def _make(self, number, name):
        scope = {"runtime": self.runtime, "number": number, "Err": Err, "left": self.left, "name": name}
        body = "result" if name in PLAIN else "None if isinstance(result, Err) else result.value"
        lines = [
            "def function(*arguments):",
            "    result = runtime.call_import(number, list(arguments))",
            "    left.append(name)",
            f"    return {body}",
        ]
        exec("\n".join(lines), scope)
        return scope["function"]

    def mask(self, rows, cols, data):
        return rows, cols, data


@pytest.mark.parametrize("has_source", [True, False])
@pytest.mark.parametrize("installed", [True, False])
def test_it_runs_and_puts_everything_back(installed, has_source, traits):
    declarations, imports = describe(traits if installed else []), Generated(has_source)
    app = App(imports, declarations, None if has_source else [File("program.py", "")])
    rehearse = Rehearsal(app, imports, declarations, imports.runtime, lambda value: SimpleNamespace(value=value))
    before = sys.stdout, sys.stderr, set(linecache.cache), current.get(None), imports.runtime.call_import
    for _ in range(2):
        imports.left.clear()
        rehearse()
        after = sys.stdout, sys.stderr, set(linecache.cache), current.get(None), imports.runtime.call_import
        assert after == before
        assert MODULE not in sys.modules
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        assert {"output", "send", "wait", "receive_result"} <= set(imports.left)
        assert ("get" in imports.left) is has_source
        assert ("get_next_dist_result" in imports.left) is installed
