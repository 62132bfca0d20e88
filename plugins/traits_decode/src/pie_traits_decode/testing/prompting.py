"""What the cases of the suite start from."""

from __future__ import annotations

from typing import Any

from pie_core.testing.conformance import ModelSuite
from pie_core.testing.rig import Program

PROMPT = [3, 1, 4, 1, 5]
SETTINGS: tuple[tuple[float, int | None, float, float], ...] = (
    (1.0, 256, 1.0, 0.0),
    (0.7, 5, 1.0, 0.0),
    (1.3, None, 0.8, 0.05),
    (9.0, 64, 1.0, 0.0),
)
"""temperature, top_k, top_p, min_p."""


class Prompting(ModelSuite):
    """Inferlets that have run a prompt. pages: of the last one."""

    pages: list[int]

    def after_a_prompt(self, room: int = 0) -> tuple[Program, list[int]]:
        """An inferlet with an Embed that has the hidden state behind a prompt, and one that was never written."""
        p = self.open_program(f"p{len(self.rig.layer.spaces)}")
        embeds = p.prompt(PROMPT)
        size = self.subject.backend.info.kvpage_size
        self.pages = p.call("alloc_kvpage", -(-(len(PROMPT) + room) // size))
        p.call("forward", [], embeds, self.pages, embeds[-1:])
        return p, [embeds[-1], *p.call("alloc_emb", 1)]

    def get(self, p: Program, name: str, *arguments: Any) -> Any:
        """What a command gives."""
        ticket = p.call(name, *arguments)
        self.rig.loop.run()
        return ticket.result()
