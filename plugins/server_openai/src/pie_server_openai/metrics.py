"""What `/metrics` shows of these routes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from prometheus_client import CollectorRegistry, Counter, Histogram

from pie_server_openai.messages import Finish, Prompt, Said, Text

_FIRST_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)
_NEXT_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)


class Metrics:
    """Of one server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        of = ["model"]
        self._first = Histogram(
            "pie_time_to_first_token_seconds",
            "Time from a request to the first text of each of its answers.",
            of,
            buckets=_FIRST_S,
            registry=registry,
        )
        self._next = Histogram(
            "pie_inter_token_seconds", "Time between tokens of an answer.", of, buckets=_NEXT_S, registry=registry
        )
        self._prompt = Counter("pie_prompt_tokens", "Tokens of prompts.", of, registry=registry)
        self._cached = Counter("pie_cached_tokens", "Tokens of prompts that were not run.", of, registry=registry)
        self._generated = Counter("pie_generated_tokens", "Tokens of answers.", of, registry=registry)
        self.requests = Counter("pie_requests", "Requests answered.", ["route", "status"], registry=registry)

    async def watch(self, model: str, said: AsyncIterator[Said], started: float) -> AsyncIterator[Said]:
        """The same messages, counted. started: `time.monotonic()` when the request came."""
        latest: dict[int, float] = {}  # when each choice said something
        async for message in said:
            now = time.monotonic()
            match message:
                case Prompt(tokens=tokens, cached=cached):
                    self._prompt.labels(model).inc(tokens)
                    self._cached.labels(model).inc(cached)
                case Text(index=index, tokens=tokens) if tokens:
                    if index not in latest:
                        self._first.labels(model).observe(now - started)
                        between, apart_s = tokens - 1, 0.0
                    else:
                        between, apart_s = tokens, (now - latest[index]) / tokens
                    for _ in range(between):
                        self._next.labels(model).observe(apart_s)
                    latest[index] = now
                case Finish(tokens=tokens):
                    self._generated.labels(model).inc(tokens)
            yield message
