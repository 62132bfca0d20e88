"""Outputs and counters of the pages about attention patterns: `PYTHONPATH=. python docs/techniques/attention.py`

From the root; it takes two minutes. Runs what the pages quote, on the bundled model in fp32, and writes it into them: the
output below each `$ pie-core run`, the tables between their marks. The pictures are drawn by `draw_masks.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count

from docs.techniques.decoding import refresh
from tests.techniques.running import Look, Ran
from tests.techniques.streams import watch

RIGHT = (
    "The capital of France is Paris.",
    "12",
    "The capital of Japan is Tokyo.",
    "Yes",
    "red, blue, green",
    "The capital of Peru is Lima.",
)
ROUNDS = 17


def main() -> None:
    """All three pages."""
    refresh(
        "attention_sink",
        [
            ["", "most pages held", "right answers", "tokens run"],
            *(sink(4, 60), sink(4, 28), sink(0, 64), sink(0, 1020, ", nearly all that there is")),
        ],
    )
    refresh(
        "windowed_attention",
        [
            ["", "tokens generated", "pages held at most", "tokens run", "counted right"],
            window("the default, `--window 32`"),
            window("`--window 1024`, which is all of this text", "--window=1024"),
            window("`--max-tokens 3000`", "--max-tokens=3000"),
        ],
    )
    refresh(
        "hierarchical_attention",
        [
            ["", "tokens that the answer sees", "pages held before the answer", "tokens run"],
            hierarchy("the default"),
            hierarchy("`--chunk 100`, one chunk: plain attention", "--chunk=100"),
        ],
    )


def sink(first: int, last: int, remark: str = "") -> list[str]:
    """A long chat."""
    ran, looks = executed("attention_sink", f"--sink={first}", f"--window={last}", f"--rounds={ROUNDS}")
    answers = [re.sub(r"^[^.?]*[.?] (.*) \[\d+ pages\]$", r"\1", line) for line in ran.output.splitlines()]
    right = sum(answer == wanted for answer, wanted in zip(answers, RIGHT * ROUNDS, strict=True))
    found = [str(most_pages(looks)), f"{right} of {len(answers)}", str(ran.cost.tokens)]
    return [f"`--sink {first} --window {last}`{remark}", *found]


def window(what: str, *flags: str) -> list[str]:
    """Counting on."""
    ran, looks = executed("windowed_attention", *flags)
    numbers = ran.output.partition("\n")[0].split(", ")[:-1]  # the last one may be cut off
    counted = next(at for at in count() if at == len(numbers) or numbers[at] != str(at + 1))
    return [what, str(len(looks)), str(most_pages(looks)), str(ran.cost.tokens), f"up to {counted}"]


def hierarchy(what: str, *flags: str) -> list[str]:
    """A question about a text."""
    ran, _ = executed("hierarchical_attention", *flags)
    told = re.match(r"\[sees (\d+ of \d+) tokens, (\d+) pages;", ran.output)
    assert told is not None, ran.output
    return [what, told[1], told[2], str(ran.cost.tokens)]


def executed(name: str, *flags: str) -> tuple[Ran, Sequence[Look]]:
    return watch(name, *flags, page_size=16)


def most_pages(looks: Sequence[Look]) -> int:
    return max(look.pages for look in looks)


if __name__ == "__main__":
    main()
