"""The process that tries grammars ends with the model."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pie_core.controller import Controller, Settings
from pie_core.testing.run import run_inferlet

PROGRAM = """
from inferlet import *

async def main():
    q = get_auto_model().create_queue()
    set_grammar(q, alloc_matcher(q, 1), "regex", "[ab]+")
    await synchronize(q)
"""


def tryers() -> list[str]:
    """Processes that this one has started to try grammars, and that have not been waited for."""
    started = [child for tasks in Path("/proc/self/task").glob("*/children") for child in tasks.read_text().split()]
    return [child for child in started if "pie_traits_grammar" in Path(f"/proc/{child}/cmdline").read_text()]


def test_a_model_that_is_closed_leaves_no_process_behind() -> None:
    before = set(tryers())

    async def go() -> set[str]:
        async with Controller(Settings("pico", "torch", {"pages": "8", "embeds": "64"}, tier="native")) as controller:
            outcome = await run_inferlet(PROGRAM, models=controller.models)
            assert outcome.ended.status == "finished", outcome.ended.error
            return set(tryers()) - before

    assert len(asyncio.run(go())) == 1
    assert set(tryers()) <= before
