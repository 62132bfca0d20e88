"""The page of what a server shows over HTTP: addresses and metrics, of the core and of installed packages."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry

from pie_core.application.application import Application
from pie_core.application.native import NativeTier
from pie_core.controller import Controller, Settings
from pie_core.plugins import Selection
from pie_core.reference.described import described
from pie_core.reference.markdown import code, page, table
from pie_core.server.http import Endpoints
from pie_core.server.metrics import CoreCollector
from pie_core.server.routes import Gate, Routes, load_routes
from pie_core.server.state import ServerState


def server_page() -> str:
    """Addresses and metrics."""
    metrics = CollectorRegistry()
    state = empty_state()
    metrics.register(CoreCollector(state))
    parts = load_routes(Selection(), Gate(state, metrics), Endpoints(state, metrics).routes())
    return page(
        "HTTP and metrics",
        "## Addresses",
        "`GET /openapi.json` has all about them; the WebSocket protocol is in [operations](../operations.md).",
        table(["request", ""], _addresses(parts)),
        "## Metrics",
        "Of `GET /metrics`. Times are seconds; what is counted is counted since the start of the server.",
        table(["metric", "type", "labels", ""], _metrics(metrics)),
    )


def empty_state() -> ServerState:
    """That of a server without a model."""
    state, controller = ServerState(0, True), Controller(Settings())
    controller.application = Application({}, NativeTier())
    state.open(controller)
    return state


def _addresses(parts: Iterable[Routes]) -> list[tuple[str, str]]:
    return [
        (code(f"{route.method} {route.path}"), described(route.path, route.operation.get("summary")))
        for part in parts
        for route in part.routes
    ]


def _metrics(registry: CollectorRegistry) -> list[tuple[str, str, str, str]]:
    rows = []
    for collector in list(registry._collector_to_names):  # its public side shows no labels without a sample
        for family in collector.collect():
            labels: Iterable[str] = getattr(family, "_labelnames", ()) or getattr(collector, "_labelnames", ())
            name = f"{family.name}_total" if family.type == "counter" else family.name
            described(name, family.documentation)
            rows.append((code(name), family.type, ", ".join(map(code, labels)), family.documentation))
    return sorted(rows)
