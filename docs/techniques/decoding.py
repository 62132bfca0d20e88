"""Outputs, counters and pictures of the pages about decoding: `PYTHONPATH=. python docs/techniques/decoding.py`

Runs what the pages quote, on the bundled model in fp32, and writes it into them: the output below each
`$ pie-core run`, the tables between their marks, the pictures beside this file.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import tempfile
from pathlib import Path

from pie_core.application.program import find_program
from tests.techniques.running import Cost, Ran, run, run_on, serving
from tests.techniques.test_beam_search import PAGES
from tests.techniques.test_speculative_decoding import COPY, EDIT

HERE = Path(__file__).parent
TASKS = {"copy": COPY, "edit": EDIT, "sums": "What is (3 + 4) * 2?"}
COLORS = dict(zip(TASKS, ("#2f5fa8", "#2a7f3f", "#b03030"), strict=True))
WIDE, HIGH = 460, 180
LINE = 11  # between labels


def main() -> None:
    """All three pages."""
    for name, flag, values in (
        ("speculative_decoding", "drafts", (0, 1, 2, 4, 8, 16)),
        ("jacobi_decoding", "block", (1, 2, 4, 8, 16)),
    ):
        costs = asyncio.run(measured(name, flag, values))
        if name == "jacobi_decoding":
            plain = asyncio.run(measured(name, flag, values, "--no-lookup"))
            costs |= {f"{task}, `--no-lookup`": plain[task] for task in TASKS}
        rows = [[task, *(f"{cost.forwards} ({cost.tokens})" for cost in taken)] for task, taken in costs.items()]
        refresh(name, [[f"`--{flag}`", *map(str, values)], *rows])
        lines = {task: [cost.forwards for cost in costs[task]] for task in TASKS}
        (HERE / f"{name}.svg").write_text(chart(f"forward passes, by --{flag}", [*map(str, values)], lines, COLORS))
    widths = (1, 2, 4, 8, 16)
    found = [pages_of_beams(width) for width in widths]
    alone = [width * found[0][0] for width in widths]
    refresh(
        "beam_search",
        [
            ["`--width`", *map(str, widths)],
            ["pages, forked", *(str(pages) for pages, _ in found)],
            ["pages, a context for each beam", *map(str, alone)],
            ["tokens run, forked", *(str(cost.tokens) for _, cost in found)],
            ["tokens run, a context for each beam", *(str(width * found[0][1].tokens) for width in widths)],
            ["steps", *(str(cost.steps) for _, cost in found)],
        ],
    )
    lines = {"a context for each": alone, "forked": [pages for pages, _ in found]}
    colors = {"a context for each": "#b03030", "forked": "#2f5fa8"}
    (HERE / "beam_search.svg").write_text(chart("pages held at most, by --width", [*map(str, widths)], lines, colors))


async def measured(name: str, flag: str, values: tuple[int, ...], *more: str) -> dict[str, list[Cost]]:
    """What each task took with each value of a flag."""
    costs: dict[str, list[Cost]] = {}
    async with serving() as controller:
        for task, question in TASKS.items():
            runs = [
                await run_on(controller, name, f"--prompt={question}", f"--{flag}={value}", "--max-tokens=150", *more)
                for value in values
            ]
            assert len({ran.output.rpartition("\n[")[0] for ran in runs}) == 1, "a flag changed the answer"
            costs[task] = [ran.cost for ran in runs]
    return costs


def pages_of_beams(width: int) -> tuple[int, Cost]:
    """The most pages that a search held, and what it took; after the long prompt of the copying task."""
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory, "counting.py")
        program.write_text(Path(find_program("beam_search").filename).read_text() + PAGES)
        ran = run(program, "--chat", f"--prompt={COPY} {COPY}", f"--width={width}", "--max-tokens=32")
    return int(ran.outcome.messages[0]), ran.cost


def refresh(name: str, table: list[list[str]]) -> None:
    """Write outputs and table into the page."""
    page = HERE / f"{name}.md"
    text = re.sub(r"\$ pie-core run (.*)\n(?:(?!```|\$ ).*\n)*", printed, page.read_text())
    head, *rows = [f"| {' | '.join(row)} |" for row in table]
    lines = "\n".join([head, "|---" * len(table[0]) + "|", *rows])
    text = re.sub(r"(<!-- counted -->\n)(?:.*\n)*?(<!-- end -->)", rf"\g<1>{lines}\n\g<2>", text)
    page.write_text(text)


def printed(command: re.Match[str]) -> str:
    """A command and what it prints."""
    name, *flags = [word for word in shlex.split(command[1]) if word != "--"]
    ran: Ran = run(name, *flags)
    return f"$ pie-core run {command[1]}\n{ran.output}"


def chart(title: str, marks: list[str], lines: dict[str, list[int]], colors: dict[str, str]) -> str:
    """An SVG of one line for each name, over equally spaced marks; the last values stand with the names."""
    most = max(map(max, lines.values()))
    step, top, base = (WIDE - 190) / (len(marks) - 1), 40, HIGH - 25
    heights = {name: [base - (base - top) * value / most for value in values] for name, values in lines.items()}
    labels = apart({name: line[-1] + 4 for name, line in heights.items()})
    parts = [f'<rect width="{WIDE}" height="{HIGH}" fill="#fff"/>', f'<text x="10" y="14" fill="#222">{title}</text>']
    parts += [
        f'<text x="{30 + step * at:.0f}" y="{HIGH - 8}" fill="#222" text-anchor="middle">{mark}</text>'
        for at, mark in enumerate(marks)
    ]
    for name, line in heights.items():
        first, *_, last = lines[name]
        path = " L".join(f"{30 + step * at:.1f} {y:.1f}" for at, y in enumerate(line))
        parts.append(f'<path d="M{path}" fill="none" stroke="{colors[name]}" stroke-width="2"/>')
        parts.append(f'<text x="22" y="{line[0] - 5:.0f}" fill="{colors[name]}">{first}</text>')
        x = 30 + step * (len(marks) - 1) + 8
        parts.append(f'<text x="{x:.0f}" y="{labels[name]:.0f}" fill="{colors[name]}">{last} {name}</text>')
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" font-family="monospace" font-size="10">'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def apart(heights: dict[str, float]) -> dict[str, float]:
    """Heights of labels, moved down where they would overlap."""
    placed: dict[str, float] = {}
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        placed[name] = max(height, *(other + LINE for other in placed.values())) if placed else height
    return placed


if __name__ == "__main__":
    main()
