"""The README's program runs as it stands and says what its reader expects."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from pie_core.controller import Controller, Settings
from pie_core.testing.run import run_inferlet

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_program_prints_three_capitals() -> None:
    source = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert source is not None

    async def run() -> str:
        async with Controller(Settings("pico", "torch", {"pages": "64"})) as controller:
            outcome = await run_inferlet(source[1], models=controller.models)
            assert outcome.ended.status == "finished", outcome.ended.error
            return outcome.output

    assert asyncio.run(run()).split("\n")[:3] == ["France:  Paris", "Japan:  Tokyo", "Chile:  Santiago"]
