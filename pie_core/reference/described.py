"""Descriptions, where declarations have them: docstrings, and in those `name: text` for each field or error."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from typing import Any

import msgspec

from pie_core.errors import DeclarationError

_ERROR = re.compile(r"^(\w+Error): ((?:.|\n(?!\w+Error: |\n))*)$", re.M)


def described(what: str, text: str | None) -> str:
    """The text in one line. Raises `DeclarationError` if there is none."""
    line = " ".join((text or "").split())
    if not line:
        raise DeclarationError(f"{what} has no description; write one where it is declared")
    return line


def own_doc(declared: type) -> str:
    """Its docstring, not that of a base, nor one that msgspec or dataclasses has made up."""
    text = declared.__dict__.get("__doc__") or ""
    return "" if text.startswith(f"{declared.__name__}(") else inspect.cleandoc(text)


def of_fields(struct: type[msgspec.Struct]) -> dict[str, str]:
    """What its docstring says of each field behind `name: `. Raises `DeclarationError` if it leaves one out."""
    _, found = split_names(own_doc(struct), struct.__struct_fields__)
    return {name: described(f"{struct.__name__}.{name}", found.get(name)) for name in struct.__struct_fields__}


def split_names(text: str, names: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """A docstring's paragraphs, each in a line, without what they say behind `name: `, or `name, other: `; and that."""
    one = "|".join(map(re.escape, names)) or r"\0"
    paragraphs, found = [], dict[str, str]()
    for paragraph in re.split(r"\n\s*\n", text):
        first, *rest = re.split(rf"(?<!\S)((?:{one})(?:, (?:{one}))*): ", " ".join(paragraph.split()))
        paragraphs += [first.strip()] if first.strip() else []
        for group, said in zip(rest[::2], rest[1::2], strict=True):
            found |= dict.fromkeys(group.split(", "), said.strip())
    return paragraphs, found


def split_errors(doc: str) -> tuple[str, dict[str, str]]:
    """The docstring of a call without its lines `SomeError: what gets it`, and those, by the error."""
    text = inspect.cleandoc(doc)
    return _ERROR.sub("", text).strip(), {name: " ".join(what.split()) for name, what in _ERROR.findall(text)}


def shown(value: Any, name: str = "") -> str:
    """A default, as one reads it."""
    if value is None or value == "":
        return "none"
    if name.endswith("bytes") and isinstance(value, int):
        for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value >= size and value % size == 0:
                return f"{value // size} {unit}"
    return f"{value:g}" if isinstance(value, float) else f"{value}"
