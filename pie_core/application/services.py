"""What all inferlets of a server share beside its models."""

from __future__ import annotations

from dataclasses import dataclass, field

from pie_core.application.network.client import HttpClient


@dataclass(frozen=True)
class Services:
    """The parts that runtime calls work on."""

    http: HttpClient = field(default_factory=HttpClient)
