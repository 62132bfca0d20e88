"""Many clients with more launches than the server runs at once, as `benchmarks/flood.py` has them in large."""

import asyncio
from pathlib import Path

from pie_core.application.limits import Limits
from pie_core.client import Client
from pie_core.errors import BusyError

FOREVER = Path(__file__).parent / "programs" / "forever.py"
SOURCE = """
from inferlet import *
async def main():
    with get_auto_model().create_context() as context:
        await context.fill("prompt")
        await context.generate(stop=max_tokens(2))
        return get_arg()[0]
"""


def test_every_launch_of_many_clients_is_served_and_few_run_at_once(with_server, tmp_path):
    program = tmp_path / "short.py"
    program.write_text(SOURCE)

    async def test(server):
        line = server.controller.application.line
        running, waiting = [], []

        async def ask(number):
            async with Client(server.url) as client:
                mine = [f"{number}.{n}" for n in range(4)]
                inferlets = await asyncio.gather(*(client.launch(program, [name]) for name in mine))
                running.append(line.running)
                waiting.append(line.waiting)
                assert [await inferlet.result() for inferlet in inferlets] == mine

        await asyncio.gather(*(ask(number) for number in range(12)))
        assert max(running) <= 3 < max(waiting)
        assert (line.running, line.waiting) == (0, 0)
        assert not any(server.used.values())

    with_server(test, Limits(max_inferlets=3))


def test_a_client_that_goes_takes_what_it_has_in_line_along(with_server, tmp_path):
    program = tmp_path / "short.py"
    program.write_text(SOURCE)

    async def test(server):
        line = server.controller.application.line
        async with Client(server.url) as other:
            async with Client(server.url) as client:
                for _ in range(20):
                    await client.launch(FOREVER)
                last = await other.launch(program, ["last"])
                assert line.waiting == 20
            assert await last.result() == "last"
        await server.until(lambda: not server.controller.application.inferlets)

    with_server(test, Limits(max_inferlets=1))


def test_behind_a_full_line_a_client_is_told_to_come_back_and_can(with_server, tmp_path):
    program = tmp_path / "short.py"
    program.write_text(SOURCE)

    async def test(server):
        async def persist(client, number):
            while True:
                try:
                    return await (await client.launch(program, [str(number)])).result()
                except BusyError as error:
                    assert "try again later" in str(error)
                    await asyncio.sleep(0.01)

        async with Client(server.url) as client:
            results = await asyncio.gather(*(persist(client, number) for number in range(15)))
        assert results == [str(number) for number in range(15)]
        assert server.controller.application.line.refused > 0

    with_server(test, Limits(max_inferlets=1, line_launches=2))
