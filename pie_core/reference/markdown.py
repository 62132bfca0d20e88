"""Markdown of the pages: titles, tables, and nothing that depends on the machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; without a row, nothing."""
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join([f"| {' | '.join(titles)} |", "|" + "---|" * len(titles), *lines]) if lines else ""


def page(title: str, *parts: str) -> str:
    """A whole page of those parts that are not empty."""
    made = "<!-- Made from the declarations by `make reference`; do not edit. -->"
    return "\n\n".join([f"# {title}", made, *filter(None, parts)]) + "\n"


def code(text: str) -> str:
    """As code, if it is anything."""
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
