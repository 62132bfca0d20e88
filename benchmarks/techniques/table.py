"""The rows as a table in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from techniques.measure import OURS

HEAD = ("technique", "against", "clients", "ours, ms", "it, ms", "time", "CPU", "aim", "answers", "our tokens")


def table(rows: Iterable[dict[str, Any]]) -> str:
    """A line for each baseline: our time and its, and what share of its time and of its CPU-seconds ours are."""
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    ours: dict[str, Any] = {}
    for row in rows:
        if row["side"] == OURS:
            ours = row
            continue
        cells = (
            row["technique"],
            row["side"],
            row["clients"],
            ours["latency_ms"],
            row["latency_ms"],
            f"{row['ours_to_it']:.2f}x",
            f"{row['ours_to_it_cpu']:.2f}x",
            "" if row["aim"] is None else f"{row['aim']:g}x {'met' if row['met'] else '**missed**'}",
            {True: "the same", False: "**differ**", None: ""}[row["same_answers"]],
            tokens(ours),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def tokens(ours: dict[str, Any]) -> str:
    """How many our server ran for our side; and how many were new, if a technique says so."""
    run, new = ours["tokens_run"], ours.get("tokens_new")
    if new is None:
        return str(run)
    return f"{run}, all new" if run == new else f"{run}, **{new} new**"
