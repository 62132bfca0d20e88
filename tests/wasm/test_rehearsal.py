"""The rehearsal before the snapshot: it runs to its end with whatever traits there are, and leaves nothing behind."""

import asyncio
import linecache
import sys

import pytest
from inferlet.host import current
from inferlet_guest import rehearsal
from inferlet_guest.app import MODULE

from pie_core.application.interface import describe
from tests.wasm.fake_imports import Err


@pytest.mark.parametrize("installed", [True, False])
def test_it_runs_and_puts_everything_back(installed, traits, monkeypatch):
    answered = []
    function = rehearsal._Pretended.function

    def noted(self, trait, name):
        answer = function(self, trait, name)
        return lambda *arguments: (answered.append(name), answer(*arguments))[1]

    monkeypatch.setattr(rehearsal._Pretended, "function", noted)
    before = sys.stdout, sys.stderr, set(linecache.cache), current.get(None)
    rehearsal.rehearse(Err, describe(traits if installed else []))
    assert (sys.stdout, sys.stderr, set(linecache.cache), current.get(None)) == before
    assert MODULE not in sys.modules
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert {"output", "send", "wait", "receive_result"} <= set(answered)
    assert ("get_next_dist_result" in answered) is installed
