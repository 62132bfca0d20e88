"""`/metrics`: what a scraper reads is what has happened, in each server by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from pie_core.application.limits import Limits
from pie_core.client import Client
from pie_core.server.metrics import CoreCollector

MANUAL = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
ECHO = Path(__file__).parent / "programs" / "echo.py"
STEPS = """
from inferlet import *
async def main():
    q = create_queue(get_auto_model())
    pages, embeds = alloc_kvpage(q, 3), alloc_emb(q, 2)
    for step in range(5):
        embed_txt(q, [1, 2], [2 * step, 2 * step + 1], embeds)
        forward(q, pages, embeds, pages, embeds)
        await synchronize(q)
    send("holding")
    await receive()
"""


async def scrape(server):
    """Samples by name and labels, as a Prometheus parser reads them."""
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        response = await http.get("/metrics")
    response.raise_for_status()
    families = list(text_string_to_metric_families(response.text))
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples
    }
    return families, samples


def labelled(name, **labels):
    return (name, *sorted(labels.items()))


def test_what_has_run_is_counted_by_trait_and_command(with_server, tmp_path):
    program = tmp_path / "steps.py"
    program.write_text(STEPS)

    async def test(server):
        async with Client(server.url) as client:
            inferlet = await client.launch(program)
            assert await inferlet.receive() == "holding"
            _, samples = await scrape(server)
            of = {"model": "fake", "trait": "forward", "command": "forward"}
            assert samples[labelled("pie_batch_size_count", **of)] == 5
            assert samples[labelled("pie_batch_size_sum", **of)] == 5
            assert samples[labelled("pie_batch_size_bucket", **of, le="1.0")] == 5
            assert samples[labelled("pie_command_wait_seconds_count", **of)] == 5
            assert samples[labelled("pie_command_wait_seconds_sum", **of)] > 0
            assert samples[labelled("pie_command_weight_total", **of)] == 10
            assert samples[labelled("pie_pool_used", model="fake", kind="kvpage")] == 3
            assert samples[labelled("pie_pool_used", model="fake", kind="embed")] == 2
            assert samples[labelled("pie_pool_capacity", model="fake", kind="kvpage")] == 64
            assert samples[labelled("pie_waves_total", model="fake")] >= 5
            assert samples[labelled("pie_inferlets", state="running")] == 1
            await inferlet.send("end")
            await inferlet.result()
            _, samples = await scrape(server)
            assert samples[labelled("pie_inferlets", state="running")] == 0
            assert samples[labelled("pie_inferlets_launched_total")] == 1
            assert samples[labelled("pie_inferlets_ended_total", status="finished")] == 1

    with_server(test)


def test_commands_that_run_together_are_one_batch(with_server, tmp_path):
    program = tmp_path / "together.py"
    program.write_text(
        "from inferlet import *\nasync def main():\n    model = get_auto_model()\n"
        "    queues = [create_queue(model) for _ in range(6)]\n"
        "    for q in queues:\n        embed_txt(q, [1], [0], alloc_emb(q, 1))\n"
        "    for q in queues:\n        await synchronize(q)\n"
    )

    async def test(server):
        async with Client(server.url) as client:
            await (await client.launch(program)).result()
        _, samples = await scrape(server)
        of = {"model": "fake", "trait": "input_text", "command": "embed_txt"}
        assert samples[labelled("pie_batch_size_count", **of)] == 1
        assert samples[labelled("pie_batch_size_bucket", **of, le="4.0")] == 0
        assert samples[labelled("pie_batch_size_bucket", **of, le="8.0")] == 1
        assert samples[labelled("pie_command_wait_seconds_count", **of)] == 6

    with_server(test)


def test_who_waits_in_line_and_who_was_refused_is_shown(with_server):
    async def test(server):
        forever = Path(__file__).parent / "programs" / "forever.py"
        async with Client(server.url) as client:
            inferlets = [await client.launch(forever) for _ in range(3)]
            _, samples = await scrape(server)
            assert samples[labelled("pie_inferlets", state="running")] == 1
            assert samples[labelled("pie_inferlets", state="waiting")] == 2
            for inferlet in reversed(inferlets):
                await inferlet.stop()
            _, samples = await scrape(server)
            assert samples[labelled("pie_inferlets", state="waiting")] == 0
            assert samples[labelled("pie_inferlets_ended_total", status="stopped")] == 3

    with_server(test, Limits(max_inferlets=1))


def test_two_servers_of_one_process_count_for_themselves(with_server):
    async def test(server):
        _, samples = await scrape(server)
        assert samples[labelled("pie_inferlets_launched_total")] == 0
        async with Client(server.url) as client:
            await (await client.launch(ECHO)).stop()
        _, samples = await scrape(server)
        assert samples[labelled("pie_inferlets_launched_total")] == 1

    with_server(test)
    with_server(test)


def test_every_metric_is_in_the_manual_in_base_units(with_server):
    async def test(server):
        for family in CoreCollector(server.state).collect():
            assert f"`{family.name}" in MANUAL.split("## Metrics")[1], family.name
            assert family.name.startswith("pie_") and family.documentation
            assert not family.name.endswith(("_ms", "_us", "_kb", "_mb"))

    with_server(test)


def test_every_answer_carries_the_id_of_its_request(with_server):
    async def test(server):
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
            mine = await http.get("/livez", headers={"X-Request-Id": "mine-1"})
            assert mine.headers["X-Request-Id"] == "mine-1"
            both = await asyncio.gather(*(http.get("/nowhere", headers={"X-Request-Id": "a\tb"}) for _ in range(2)))
            given = {response.headers["X-Request-Id"] for response in both}
            assert len(given) == 2 and all(one.startswith("req-") for one in given)

    with_server(test)
