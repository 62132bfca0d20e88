"""docs/techniques/README.md lists every technique: its page, its program and how long that is, its oracle test."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "techniques"
IMAGES = {"image_description", "image_json", "image_compare"}  # on the page about images
NO_TECHNIQUE = {"low_level_completion", *IMAGES}
ROW = re.compile(
    r"\| \[(?P<title>[^\]]+)\]\((?P<page>\w+\.md)\) \| \[`(?P<name>\w+)`\]\(\.\./\.\./inferlets/(?P<file>\w+\.py)\) "
    r"\| (?P<ours>\d+) \| (?P<paper>\d+) \| \[(?P<test>\w+)\]\(\.\./\.\./tests/techniques/(?P<path>\w+\.py)\) \|"
)


def lines_of_code(path: Path) -> int:
    """Lines with a token on them that is no comment and no docstring."""
    source = path.read_text("utf-8")
    ignored = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in ignored:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and first.end_lineno:
                lines -= set(range(first.lineno, first.end_lineno + 1))
    return len(lines)


def rows() -> dict[str, re.Match[str]]:
    text = (PAGES / "README.md").read_text("utf-8")
    return {match["name"]: match for line in text.splitlines() if (match := ROW.fullmatch(line))}


def test_every_program_is_a_row_with_its_page_its_test_and_its_length() -> None:
    programs = {path.stem: path for path in (ROOT / "inferlets").glob("*.py")}
    found = rows()
    assert set(found) == set(programs) - NO_TECHNIQUE
    for name, row in found.items():
        assert row["file"] == f"{name}.py" and row["path"] == f"{row['test']}.py" == f"test_{name}.py"
        assert (PAGES / row["page"]).is_file() and (ROOT / "tests" / "techniques" / row["path"]).is_file()
        assert int(row["ours"]) == lines_of_code(programs[name]), name


def test_the_page_about_images_has_every_program_with_images() -> None:
    page = (ROOT / "docs" / "images.md").read_text("utf-8")
    for name in IMAGES:
        assert f"(../inferlets/{name}.py)" in page and f"pie-core run {name}" in page


def test_every_program_is_short_enough_to_be_read() -> None:
    for path in (ROOT / "inferlets").glob("*.py"):
        assert len(path.read_text("utf-8").splitlines()) <= 300, path


def test_every_page_is_linked() -> None:
    linked = {row["page"] for row in rows().values()} | {"README.md"}
    assert {path.name for path in PAGES.glob("*.md")} == linked
