"""Counters and pictures of the four pages about thoughts: `PYTHONPATH=. python docs/techniques/thought.py`.

Every figure comes from a run of the program, on the bundled model in fp32; the pictures are written beside this file.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from random import Random

from pie_core.controller import find_model
from pie_core.plugins import Selection
from tests.techniques.conftest import Reference, load_reference
from tests.techniques.running import run, run_on, serving
from tests.techniques.test_graph_of_thought import DIGITS, result
from tests.techniques.test_recursion_of_thought import DEFAULT, QUESTIONS, Recursion
from tests.techniques.test_tree_of_thought import LINE, Search

HERE = Path(__file__).parent
DARK, LIGHT, GREEN, RED, BLUE = "#222", "#888", "#2a7f3f", "#b03030", "#2f5fa8"
LISTS = 20  # of each length, for graph of thought


def main() -> None:
    reference = load_reference(find_model("pico", Selection()).path)
    tree(reference)
    recursion(reference)
    graph(reference)
    skeleton(reference)


def tree(reference: Reference) -> None:
    """The tree of the default puzzle: kept branches with their steps, pruned ones as dots."""
    search = Search(reference)
    search.run("1 3 4 5", 3)
    ran, plain = run("tree_of_thought", "--all"), run("tree_of_thought", "--drafts", "0")
    print(
        f"tree: {ran.cost}, without drafts {plain.cost}; each prompt by itself: {search.naive} tokens, {search.apart} steps"
    )
    levels: list[list[tuple[bool, str, str]]] = []
    for line in ran.output.splitlines()[:-1]:
        if match := LINE.fullmatch(line):
            levels[-1].append((match[1] == "+", match[2], match[3]))
        else:
            levels.append([])
    marks, places = [], {"": (20.0, 150.0)}
    colors = {"sure": GREEN, "likely": BLUE, "impossible": RED}
    for depth, level in enumerate(levels, 1):
        for number, (kept, verdict, steps) in enumerate(level):
            x, y = 20.0 + 210 * depth, 42.0 + 226 * number / max(len(level) - 1, 1)
            before, _, last = steps.rpartition("; ")
            if kept:
                places[steps] = (x, y)
                marks += label(x + 7, y + 4, last, colors[verdict])
            marks.insert(0, line_between(places[before], (x, y), colors[verdict] if kept else "#ddd"))
            marks.append(f'<circle cx="{x:.0f}" cy="{y:.1f}" r="{4 if kept else 2}" fill="{colors[verdict]}"/>')
    marks += label(2, 136, "1 3 4 5", DARK)
    legend = [("rated by the model:", DARK), *colors.items(), ("large: kept, small: pruned", DARK)]
    for place, (words, color) in enumerate(legend):
        marks.append(text(20 + 6.8 * sum(len(before) + 2 for before, _ in legend[:place]), 16, words, color))
    write("tree_of_thought", 820, 280, marks)


def recursion(reference: Reference) -> None:
    """How full a context is while the default expression is solved: many small ones, or one for all."""
    recursion = Recursion(reference)
    recursion.solve(QUESTIONS[DEFAULT])
    print(f"recursion: {run('recursion_of_thought').output.splitlines()[-1]}")
    sizes = [len(reference.encode(context)) for context in recursion.contexts]
    total, marks, x, sum_ = sum(sizes), [], 20.0, 0
    scale_x, scale_y, base = 520 / total, 150 / total, 190
    for size in sizes:
        marks.append(box(x, base - size * scale_y, size * scale_x - 1, size * scale_y, BLUE))
        to = (x + size * scale_x, base - (sum_ + size) * scale_y)
        marks.append(line_between((x, base - sum_ * scale_y), to, RED))
        x, sum_ = x + size * scale_x, sum_ + size
    marks += [
        text(20, 16, "tokens in the context", DARK),
        text(20, 34, "all questions in one", RED),
        text(20, 50, "each question in its own", BLUE),
        text(546, base + 4 - total * scale_y, f"{total}", RED),
        text(546, base + 4 - max(sizes) * scale_y, f"{max(sizes)}", BLUE),
    ]
    write("recursion_of_thought", 580, 200, marks)


def graph(reference: Reference) -> None:
    """How many of LISTS lists are sorted exactly, by length."""
    rng, marks = Random(1), [text(40, 16, f"of {LISTS} lists of so many digits, sorted exactly", DARK)]
    for place, length in enumerate((8, 16, 24, 32)):
        lists = [[rng.choice("0123456789") for _ in range(length)] for _ in range(LISTS)]
        said = reference.generate_each([f"Sort: {' '.join(digits)}\nSorted:" for digits in lists], 2 * length + 8)
        plain = sum(
            reference.decode(answer).split() == sorted(given) for answer, given in zip(said, lists, strict=True)
        )
        found = asyncio.run(sort_all(lists))
        exact = sum(answer == sorted(given) for answer, given in zip(found, lists, strict=True))
        print(f"graph: {length} digits: {exact}/{LISTS} by the graph, {plain}/{LISTS} at once")
        x = 50 + 110 * place
        for column, (count, color) in enumerate(((plain, LIGHT), (exact, BLUE))):
            high = 110 * count / LISTS
            marks.append(box(x + 34 * column, 155 - high, 30, high, color))
            marks.append(text(x + 34 * column + 15 - 3.3 * len(str(count)), 151 - high, str(count), color))
        marks.append(text(x + 32 - 3.3 * len(str(length)), 171, str(length), DARK))
    marks += [text(480, 60, "at once", LIGHT), text(480, 80, "graph of thought", BLUE)]
    write("graph_of_thought", 610, 180, marks)
    for drafts in "0", "8":
        print(f"graph: --drafts {drafts}: {run('graph_of_thought', '--digits', DIGITS, '--drafts', drafts).cost}")
    lists = [[rng.choice("0123456789") for _ in range(32)] for _ in range(3 * LISTS)]
    drafts, corrected = (asyncio.run(sort_all(lists, "--part", "32", "--attempts", count)) for count in ("0", "2"))
    faulty = [place for place, given in enumerate(lists) if drafts[place] != sorted(given)]
    mended = sum(corrected[place] == sorted(lists[place]) for place in faulty)
    print(f"graph: of {len(lists)} lists sorted at once {len(faulty)} have errors; a correction mends {mended}")


async def sort_all(lists: list[list[str]], *flags: str) -> list[list[str]]:
    async with serving() as controller:
        runs = (run_on(controller, "graph_of_thought", "--digits", " ".join(each), *flags) for each in lists)
        return [result(await each) for each in runs]


def skeleton(reference: Reference) -> None:
    """When each token of an answer in five points is decoded: side by side, and one after the other."""
    side_by_side, in_a_row = (run("skeleton_of_thought", "--drafts", "0", *how) for how in ([], ["--sequential"]))
    drafted = run("skeleton_of_thought").cost
    print(f"skeleton: side by side {side_by_side.cost}, with drafts {drafted}; one after the other {in_a_row.cost}")
    lengths = [len(reference.encode(line.strip())) for line in side_by_side.output.splitlines()[1::2]]
    outline = side_by_side.cost.steps - max(lengths) - 1
    scale, marks = 560 / in_a_row.cost.steps, []
    after = 0
    for row, length in enumerate(lengths):
        y = 40 + 16 * row
        marks.append(box(20 + outline * scale, y, length * scale, 6, BLUE))
        marks.append(box(20 + (outline + after) * scale, y + 7, length * scale, 6, LIGHT))
        after += length + 1
    marks.insert(0, box(20, 40, outline * scale - 1, 16 * len(lengths) - 3, "#ddd"))
    marks += [
        text(26, 44 + 8 * len(lengths), "skeleton", DARK),
        text(20 + outline * scale, 16, f"points side by side: {side_by_side.cost.steps} steps in all", BLUE),
        text(20 + outline * scale, 31, f"points one after the other: {in_a_row.cost.steps} steps in all", LIGHT),
    ]
    write("skeleton_of_thought", 600, 50 + 16 * len(lengths), marks)


def box(x: float, y: float, width: float, height: float, color: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{color}"/>'


def line_between(one: tuple[float, float], other: tuple[float, float], color: str) -> str:
    (x, y), (to_x, to_y) = one, other
    return f'<path d="M{x:.1f} {y:.1f} L{to_x:.1f} {to_y:.1f}" stroke="{color}" fill="none"/>'


def text(x: float, y: float, words: str, color: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{color}">{re.sub("<", "&lt;", words)}</text>'


def label(x: float, y: float, words: str, color: str) -> list[str]:
    """Text that can be read over lines."""
    return [box(x - 2, y - 10, 6.8 * len(words) + 2, 13, "#fff"), text(x, y, words, color)]


def write(name: str, width: int, height: int, marks: list[str]) -> None:
    size, font = f'viewBox="0 0 {width} {height}"', 'font-family="monospace" font-size="11"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>'
    body = [f'<rect width="{width}" height="{height}" fill="#fff"/>', *marks]
    (HERE / f"{name}.svg").write_text("\n".join([head, *body, "</svg>"]) + "\n", "utf-8")


if __name__ == "__main__":
    main()
