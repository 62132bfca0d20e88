"""Draws which token sees which, from the masks that the tests compare with: `python -m docs.techniques.draw_masks`.

Rows are the tokens that look, columns those that are seen; thin lines are the borders of pages. Run it from the root.
"""

from pathlib import Path

from tests.techniques.masks import Mask, hierarchical, modular, windowed, with_sink

CELL = 9  # pixels of a token
PAGE = 8  # tokens
PICTURES = {
    "windowed_attention": (windowed(32, 10), []),
    "attention_sink": (with_sink(32, 3, 10), [3]),
    "hierarchical_attention": (hierarchical([7, 6, 7, 6], {1}, 1, 4, 10), [7, 13, 20, 26]),
    "modular_caching": (modular([8, 6, 9], 9), [8, 14, 23]),
}


def draw(mask: Mask, marks: list[int]) -> str:
    """marks: where a part of the text begins; drawn as stronger lines."""
    size = len(mask) * CELL
    cells = "".join(
        f"M{column * CELL + 1} {row * CELL + 1}h{CELL - 1}v{CELL - 1}h-{CELL - 1}z"
        for row, sees in enumerate(mask)
        for column, seen in enumerate(sees)
        if seen
    )
    lines = [_lines(range(0, len(mask) + 1, PAGE), size, "#ccc", 1), _lines(marks, size, "#c60", 1.5)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 {size + 2} {size + 2}" width="{size + 2}">'
        f'<rect width="{size}" height="{size}" fill="#fff"/>{lines[0]}<path d="{cells}" fill="#369"/>{lines[1]}</svg>\n'
    )


def _lines(places: range | list[int], size: int, colour: str, width: float) -> str:
    path = "".join(f"M{at * CELL} 0V{size}M0 {at * CELL}H{size}" for at in places)
    return f'<path d="{path}" stroke="{colour}" stroke-width="{width}" fill="none"/>' if path else ""


def main() -> None:
    for name, (mask, marks) in PICTURES.items():
        Path(__file__).with_name(f"{name}.svg").write_text(draw(mask, marks))


if __name__ == "__main__":
    main()
