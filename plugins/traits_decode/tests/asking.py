"""What the tests of generating ask: a program's outcome, with trait `decode` and without."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from pie_traits_decode.testing.answering import Answering, program

from pie_core.plugins import Selection

WITH, WITHOUT = Selection(), Selection(without=("traits.decode",))


def finished(
    body: str, selection: Selection, answer: str | None = None, pages: int = 1200
) -> tuple[Any, dict[str, int]]:
    """What a program returned whose context generates as `body` says; how many commands it took of each kind, and how
    many times something was run (`passes`)."""
    with closing(Answering(selection, pages, answer)) as model:
        (said,) = model.finished(program(body))
        return said, model.counts()


SAMPLERS = ("greedy()", "sampling(seed=5)", "sampling(temperature=0.5, top_k=20, top_p=0.9, min_p=0.01, seed=-1)")
