"""What all inferlets of a server share beside its models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pie_core.application.network.client import HttpClient
from pie_core.application.store.store import Store
from pie_core.application.topics import Topics


@dataclass(frozen=True)
class Services:
    """The parts that runtime calls work on."""

    http: HttpClient = field(default_factory=HttpClient)
    store: Store = field(default_factory=Store)
    topics: Topics = field(default_factory=Topics)
    programs: Mapping[str, Path] = field(default_factory=dict)  # installed, by name
