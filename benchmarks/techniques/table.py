"""The table of techniques: for each baseline our time and its, and what share of its time and CPU-seconds ours are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from report import Columns, Row

from techniques.measure import OURS

COLUMNS: Columns = {
    "technique": "technique",
    "against": "side",
    "clients": "clients",
    "ours, ms": lambda row: row["ours"]["latency_ms"],
    "it, ms": "latency_ms",
    "time": lambda row: f"{row['ours_to_it']:.2f}x",
    "CPU": lambda row: f"{row['ours_to_it_cpu']:.2f}x",
    "aim": lambda row: None if row["aim"] is None else f"{row['aim']:g}x {'met' if row['met'] else '**missed**'}",
    "answers": lambda row: {True: "the same", False: "**differ**", None: None}[row["same_answers"]],
    "our tokens": lambda row: tokens(row["ours"]),
}


def against(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows of baselines, each with ours, which comes before it, as `ours`."""
    ours: Row = {}
    for row in rows:
        if row["side"] == OURS:
            ours = row
        else:
            yield row | {"ours": ours}


def tokens(ours: Row) -> str:
    """How many our server ran for our side; and how many were new, if a technique says so."""
    run, new = ours["tokens_run"], ours.get("tokens_new")
    if new is None:
        return str(run)
    return f"{run}, all new" if run == new else f"{run}, **{new} new**"
