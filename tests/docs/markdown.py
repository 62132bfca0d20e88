"""The fenced blocks of a page, and what the comment before each says of it.

```console                     commands behind `$ `, each with what it prints; `...` stands for anything
<!-- file: NAME -->            the block is this file, for the commands that follow
<!-- inferlet: LINES -->       the block is a part of a program's `main`, behind these lines
<!-- not run: REASON -->       it is not run
"""

import re
from dataclasses import dataclass

_BLOCK = re.compile(
    r"^(?:<!-- (?P<kind>file|inferlet|not run):(?P<note>.*?)-->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """kind: "console", one of those of comments, or "" if nothing is said of it."""

    kind: str
    note: str
    language: str
    text: str
    line: int


def blocks(page):
    """All of them, in order."""
    for found in _BLOCK.finditer(page):
        line = page.count("\n", 0, found.start()) + 1
        kind = found["kind"] or ("console" if found["language"] == "console" else "")
        yield Block(kind, (found["note"] or "").strip("\n"), found["language"], found["text"], line)


def commands(text):
    """Each command of a console block with what it prints. A line that ends with a backslash goes on."""
    parts = re.split(r"^\$ ", text, flags=re.M)
    assert not parts[0], f"a console block begins with a command behind `$ `, not with {parts[0]!r}"
    for part in parts[1:]:
        command, _, output = re.match(r"((?:.*\\\n)*.*)(\n|\Z)((?s:.*))", part).group(1, 2, 3)
        yield command, output


def prints(expected, printed):
    """Whether this is what was expected; spaces at the end of lines do not show."""
    wanted = "".join(".*" if part == "..." else re.escape(part) for part in re.split(r"(\.\.\.)", _trimmed(expected)))
    return re.fullmatch(wanted, _trimmed(printed), re.S) is not None


def _trimmed(text):
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())
