"""A real server with the bundled model: start-up times, memory, and whether anything grows over many inferlets.

    python benchmarks/serving.py [--inferlets 10000] [--at-once 64]

Prints one row for the start and one after every tenth of the inferlets. Each generates a few tokens through the
support library and ends; one in ten fails on purpose, one in ten is stopped while it sleeps.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import click
import psutil
from report import emit, machine, usage

from pie_core.application.program import Program
from pie_core.client import Client

PROGRAM = """
from inferlet import *

async def main():
    kind = get_arg()[0]
    context = get_auto_model().create_context()
    await context.fill("The capital of France is")
    send(await context.generate_until(max_token=4))
    if kind == "fail":
        raise RuntimeError("on purpose")
    if kind == "sleep":
        await sleep(3600)
"""


def pie_core(*arguments: str) -> list[str]:
    """A `pie-core` command line of this interpreter."""
    return [sys.executable, "-c", "from pie_core.cli import main; main()", *arguments]


def time_help(rounds: int = 5) -> float:
    """Seconds until `pie-core --help` has ended; median."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run(pie_core("--help"), check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


@contextmanager
def serving(*options: str) -> Iterator[tuple[psutil.Process, str, float]]:
    """A server on a free port: its process, URL, and seconds from start to ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    started = time.perf_counter()
    process = subprocess.Popen(
        pie_core("serve", "--port", str(port), "--log-level", "error", *options), stdout=subprocess.DEVNULL
    )
    try:
        while not ready(url):
            assert process.poll() is None, "the server has ended"
            time.sleep(0.01)
        yield psutil.Process(process.pid), url, time.perf_counter() - started
    finally:
        process.terminate()
        process.wait()


def ready(url: str) -> bool:
    """Whether `/readyz` says so."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


async def launch_all(url: str, count: int, at_once: int) -> dict[str, int]:
    """Run `count` inferlets, `at_once` at a time; how they ended."""
    program, ends = Program("soak", PROGRAM, "soak.py"), {"finished": 0, "failed": 0, "stopped": 0}
    numbers = iter(range(count))

    async def worker(client: Client) -> None:
        for number in numbers:
            kind = {0: "fail", 1: "sleep"}.get(number % 10, "plain")
            inferlet = await client.launch(program, [kind])
            await inferlet.receive()
            if kind == "sleep":
                await inferlet.stop()
            async for event in inferlet:
                status = getattr(event, "status", None)
                if status is not None:
                    ends[status] += 1

    async with Client(url) as client, asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker(client))
    return ends


@click.command(help=__doc__)
@click.option("--inferlets", default=10_000)
@click.option("--at-once", default=64)
def main(inferlets: int, at_once: int) -> None:
    """Entry point."""
    facts = machine()
    help_s = time_help()
    with serving() as (process, url, ready_s):
        row = {"help_s": round(help_s, 3), "ready_s": round(ready_s, 2), "rss_mb": usage(process)["rss_mb"]}
        emit({"benchmark": "start", **row, **facts})
        for part in range(1, 11):
            started = time.perf_counter()
            ends = asyncio.run(launch_all(url, inferlets // 10, at_once))
            emit(
                {
                    "benchmark": "soak",
                    "inferlets": inferlets // 10 * part,
                    "ends": ends,
                    "per_s": round(inferlets / 10 / (time.perf_counter() - started), 1),
                    **usage(process),
                    **facts,
                }
            )


if __name__ == "__main__":
    main()
