"""Load on OpenAI's routes of a real server: latencies and failures at some numbers of connections.

    python benchmarks/load.py [--connections 1,32,256] [--requests 256] [--tokens 16]

Each connection asks for one streamed completion after the other, of exactly `--tokens` tokens (`ignore_eos`), until all
`--requests` are made. One row for each number of connections; exit code 1 if a request failed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field

import click
import httpx
from flood import share
from report import emit, machine
from serving import serving

PROMPT = "The capital of France is"


@dataclass
class Measured:
    """Seconds. `first`: until the first text; `next`: between texts; `whole`: until the end."""

    first: list[float] = field(default_factory=list)
    next: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    tokens: int = 0


async def load(url: str, connections: int, requests: int, tokens: int) -> dict[str, object]:
    """What `connections` at once see."""
    measured, numbers = Measured(), iter(range(requests))
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)

    async def worker(http: httpx.AsyncClient) -> None:
        for number in numbers:
            try:
                await ask(http, number, tokens, measured)
            except (httpx.HTTPError, ValueError, KeyError) as error:
                measured.failures.append(f"{type(error).__name__}: {error}")

    began = time.perf_counter()
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=300, limits=limits) as http:
        await asyncio.gather(*(worker(http) for _ in range(connections)))
    seconds = time.perf_counter() - began
    for failure in measured.failures[:5]:
        click.echo(failure, err=True)
    times = {"first": measured.first, "next": measured.next, "whole": measured.whole}
    parts = {"p50": 0.5, "p99": 0.99}
    return {
        "requests": requests,
        "failed": len(measured.failures),
        "per_s": round(requests / seconds, 1),
        "tokens_per_s": round(measured.tokens / seconds, 1),
    } | {f"{name}_{p}_ms": round(1e3 * share(v, part), 1) for name, v in times.items() for p, part in parts.items()}


async def ask(http: httpx.AsyncClient, number: int, tokens: int, measured: Measured) -> None:
    """One request. Raises for any answer that is not whole."""
    options = {"temperature": 1.0, "seed": number, "ignore_eos": True, "stream": True}
    body = {"model": "pico", "prompt": f"{number}. {PROMPT}", "max_tokens": tokens} | options
    body["stream_options"] = {"include_usage": True}
    began = latest = time.perf_counter()
    generated, done = 0, False
    async with http.stream("POST", "/v1/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                done = True
            elif line:
                event = json.loads(line.removeprefix("data: "))
                now = time.perf_counter()
                if event["choices"] and event["choices"][0]["text"]:
                    (measured.first if latest == began else measured.next).append(now - latest)
                    latest = now
                generated = (event["usage"] or {}).get("completion_tokens", generated)
    if not done or generated != tokens:
        raise ValueError(f"an answer of {generated} of {tokens} tokens")
    measured.whole.append(time.perf_counter() - began)
    measured.tokens += generated


@click.command(help=__doc__)
@click.option("--connections", default="1,32,256")
@click.option("--requests", default=256)
@click.option("--tokens", default=16)
def main(connections: str, requests: int, tokens: int) -> None:
    """Entry point."""
    facts, failed = machine(), 0
    with serving() as (_, url, _):
        asyncio.run(load(url, 2, 4, tokens))  # what is made at first use
        for at_once in map(int, connections.split(",")):
            row = asyncio.run(load(url, at_once, requests, tokens))
            failed += int(str(row["failed"]))
            emit({"benchmark": "load", "connections": at_once, "tokens": tokens} | row | facts)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
