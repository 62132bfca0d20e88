"""More launches than a server runs at once, from many clients: whether all are served, and what it costs.

    python benchmarks/flood.py [--clients 1000] [--launches 5] [--at-once 64]

Every client has a connection of its own and launches all its programs at once; each generates two tokens. Meanwhile
somebody asks `/livez` every 100 ms, and the memory of the server is looked at. Prints a row; exit code 1 if one failed.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Sequence

import click
import httpx
import psutil
from report import emit, machine
from serving import serving

from pie_core.application.program import Program
from pie_core.client import Client

PROGRAM = """
from inferlet import *

async def main():
    with get_auto_model().create_context() as context:
        await context.fill("The capital of France is")
        return await context.generate_until(max_token=2)
"""
LONGEST_S = 600.0


async def flood(url: str, clients: int, launches: int, process: psutil.Process) -> dict[str, object]:
    """What came of it."""
    program, ended = Program("flood", PROGRAM, "flood.py"), {"finished": 0, "failed": 0}

    async def ask() -> None:
        async with Client(url) as client:
            started = await asyncio.gather(*(client.launch(program) for _ in range(launches)), return_exceptions=True)
            for inferlet in started:
                try:
                    if isinstance(inferlet, BaseException):
                        raise inferlet
                    await inferlet.result()
                    ended["finished"] += 1
                except Exception as error:
                    ended["failed"] += 1
                    click.echo(f"{type(error).__name__}: {error}", err=True)

    waits: list[float] = []
    waiting, memory = [0], [private(process)]
    before, began = memory[0], time.perf_counter()
    async with asyncio.timeout(LONGEST_S), httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
        watcher = asyncio.create_task(watch(http, process, waits, waiting, memory))
        await asyncio.gather(*(ask() for _ in range(clients)))
        watcher.cancel()
    seconds = time.perf_counter() - began
    return {
        **ended,
        "seconds": round(seconds, 1),
        "per_s": round((ended["finished"] + ended["failed"]) / seconds, 1),
        "most_waiting": max(waiting),
        "private_mb_before": round(before / 1e6, 1),
        "private_mb_most": round(max(memory) / 1e6, 1),
        "livez_p50_ms": round(1e3 * share(waits, 0.5), 1),
        "livez_p99_ms": round(1e3 * share(waits, 0.99), 1),
    }


async def watch(
    http: httpx.AsyncClient, process: psutil.Process, waits: list[float], waiting: list[int], memory: list[int]
) -> None:
    """Look at the server until cancelled."""
    while True:
        began = time.perf_counter()
        (await http.get("/livez")).raise_for_status()
        waits.append(time.perf_counter() - began)
        memory.append(private(process))
        lines = (await http.get("/metrics")).text.splitlines()
        waiting += [int(float(line.split()[1])) for line in lines if line.startswith('pie_inferlets{state="waiting"}')]
        await asyncio.sleep(0.1)


def private(process: psutil.Process) -> int:
    """Bytes that are the process's alone: what guests share of the interpreter counts once for each in its RSS."""
    return int(process.memory_full_info().uss)


def share(values: Sequence[float], part: float) -> float:
    """The value that so many are at most."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


@click.command(help=__doc__)
@click.option("--clients", default=1000)
@click.option("--launches", default=5)
@click.option("--at-once", default=64)
def main(clients: int, launches: int, at_once: int) -> None:
    """Entry point."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with serving("--limit", f"max_inferlets={at_once}") as (process, url, _):
        row = asyncio.run(flood(url, clients, launches, process))
    emit(
        {"benchmark": "flood", "clients": clients, "launches": clients * launches, "at_once": at_once} | row | machine()
    )
    sys.exit(1 if row["failed"] else 0)


if __name__ == "__main__":
    main()
