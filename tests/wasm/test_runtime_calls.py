"""The network, the store, topics and children in the sandbox: what a program sees is what it sees when trusted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from pie_core.application.capabilities import Capabilities
from pie_core.application.limits import Limits
from pie_core.application.services import Services
from pie_core.application.store.store import Store
from pie_core.application.tier import Tier
from pie_core.application.wasm.cache import ComponentCache, default_directory
from pie_core.application.wasm.tier import WasmTier
from pie_core.testing import FakeBackend, fake_model, run_inferlet
from pie_core.testing.run import Outcome
from tests.network.conftest import redirect, reply, web_server

HEAD = """# /// inferlet
# hosts = ["*", "127.0.0.1:PORT"]
# spawn = true
# ///
from inferlet import *
import asyncio, json

def child(body):
    head = ["# /// inferlet", "# spawn = true", "# ///", "from inferlet import *", "async def main():"]
    return "\\n".join(head) + "\\n    " + body.replace("\\n", "\\n    ")

async def main():
    url = get_arg()[0]
"""

PROGRAMS = {
    "http": """
response = await http_get(url + "hop", {"X-Key": "v"})
print(response.status, response.ok, response.url == url + "end", sorted(response.headers), response.text(), response)
response = await http_post(url + "end", "text", [("Content-Type", "text/plain")])
print(response.status, response.body, await asyncio.gather(*[http_get(url + "end") for _ in range(5)]) != [])
print(len((await http_get(url + "large")).body), (await http_get(url + "json")).json())
""",
    "refusals": """
for attempt in (
    lambda: http_get("http://169.254.169.254/"), lambda: http_get("http://0x7f.1/"), lambda: http_get(url + "loop"),
    lambda: http_get("http://b.test:99/"), lambda: http_get(url, {"Host": "x"}), lambda: http_get(url, {"a": 5}),
    lambda: http_get(url + "huge"), lambda: http_get(5), lambda: http_post(url, 5), lambda: http_get(url + "away"),
    lambda: http_post(url, "x" * 1_100_000), lambda: store_set("", ""), lambda: store_get(5), lambda: spawn("x"),
    lambda: store_set("k", "x" * 200_000), lambda: subscribe(""), lambda: broadcast("a", 5), lambda: spawn("x", "y"),
    lambda: spawn("a", source="async def main(: pass").join(), lambda: spawn("a", source=child("1 / 0")).join(),
):
    try:
        await attempt()
    except Exception as error:
        print(type(error).__name__, getattr(error, "code", ""), str(error).replace(url, "URL")[:300])
    else:
        print("no error")
""",
    "store": """
print(await store_get("a"), await store_exists("a"), await store_delete("a"), await store_list_keys())
for n in range(20): store_set(f"k{n:02}", "ä" * n)
print(await store_list_keys(), await store_get("k07"), await store_get("k00"), await store_delete("k07"))
print(await asyncio.gather(*[store_get("k07") for _ in range(200)]) == [None] * 200)
store_delete("k01"); store_set("last", "not awaited")
print(await store_exists("k01"))
""",
    "topics": """
with subscribe("a") as one, subscribe("a") as two:
    for n in range(5): broadcast("a", str(n))
    print([await one.receive() for _ in range(5)])
    for n in range(2000): broadcast("a", str(n))
    for reader in (one, two):
        try: await reader.receive()
        except ResourceError as error: print(error)
    try: await asyncio.wait_for(two.receive(), 0.01)
    except TimeoutError: print("nothing")
    broadcast("a", "after")
    print(await one.receive(), await two.receive(), one)
reader = subscribe("b")
async def read(): return [text async for text in reader]
task = asyncio.create_task(read())
await asyncio.sleep(0)
broadcast("b", "x")
await asyncio.sleep(0.01)
reader.unsubscribe()
print(await task, reader)
""",
    "children": """
made = spawn("echo", ["a", "b"], source=child("send(' '.join(get_arg()))\\nprint('child')\\nreturn await receive()"))
made.send("early")
print(await made.receive(), await made.join(), await made.join())
many = [spawn("n", [str(n)], source=child("await sleep(0.001)\\nreturn get_arg()[0] * 2")) for n in range(10)]
print(await asyncio.gather(*[each.join() for each in many]))
sleeper = spawn("sleeper", source=child("send('up')\\nawait sleep(1e6)"))
print(await sleeper.receive())
sleeper.cancel()
try: await sleeper.join()
except TerminatedError as error: print(error)
try: await sleeper.receive()
except PieError as error: print(type(error).__name__)
body = "q = get_auto_model().create_queue()\\ne = alloc_emb(q, 1)\\nembed_txt(q, [7], [0], e)\\n"
body += "return str((await get_next_dist(q, e)).max_index())"
print(set(await asyncio.gather(*[spawn("dist", source=child(body)).join() for _ in range(8)])))
nested = child("return await spawn('inner', source=get_arg()[0]).join()")
print(await spawn("outer", [child("return 'from within'")], source=nested).join())
""",
}


ANSWERS = {
    "hop": redirect("/end"),
    "loop": redirect("/loop"),
    "away": redirect("http://10.0.0.1/"),
    "end": reply(200, b"\xc3\xa4", "A: 1"),
    "large": reply(200, bytes(200_000)),
    "huge": reply(200, bytes(300_000)),
    "json": reply(200, b'{"a": [1, null]}'),
}


def run_both(body: str, tmp_path: Path) -> tuple[Outcome, Outcome]:
    """The outcomes of one program, trusted and in the sandbox, each with a store of its own."""

    async def go(port: int, tier: Tier | None, name: str) -> Outcome:
        return await run_inferlet(
            HEAD.replace("PORT", str(port)) + "    " + "\n    ".join(body.strip().splitlines()),
            [f"http://127.0.0.1:{port}/"],
            tier=tier,
            limits=Limits(http_bytes=250_000, message_bytes=1 << 20, store_bytes=100_000),
            capabilities=Capabilities.of(["*", f"127.0.0.1:{port}"], spawn=True),
            services=Services(store=Store(tmp_path / name)),
        )

    async def both() -> tuple[Outcome, Outcome]:
        model = fake_model(FakeBackend())
        tier = WasmTier(model.known_traits, ComponentCache(default_directory()))
        model.close()
        async with web_server(**ANSWERS) as web:
            return await go(web.port, None, "trusted"), await go(web.port, tier, "sandboxed")

    return asyncio.run(both())


def lines(outcome: Outcome) -> Sequence[str]:
    """What it printed, without the marks under lines of tracebacks: Python's versions draw them differently."""
    return [line for line in outcome.output.splitlines() if set(line.strip()) - set("~^")]


@pytest.mark.parametrize("name", PROGRAMS)
def test_both_tiers_show_the_same(name: str, tmp_path: Path) -> None:
    trusted, sandboxed = run_both(PROGRAMS[name], tmp_path)
    assert trusted.ended.status == "finished", trusted.ended.error
    assert sandboxed.ended == trusted.ended
    assert lines(trusted) == lines(sandboxed)
    assert len(lines(trusted)) >= 3 and "no error" not in trusted.output


def test_an_endless_body_and_a_flood_of_requests_beside_another_guest(tmp_path: Path) -> None:
    """A guest that asks for more than it may get is told so; what it asked for is not kept."""
    body = """
for _ in range(20):
    for attempt in [http_get(url + "huge") for _ in range(8)]:
        try: await attempt
        except ResourceError as error: told = str(error)
return told.partition(": ")[2]"""
    trusted, sandboxed = run_both(body, tmp_path)
    assert trusted.ended.value == sandboxed.ended.value
    assert "the answer has more than 250000 bytes (limit `http_bytes`)" in str(sandboxed.ended.value)
