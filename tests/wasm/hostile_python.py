"""Hostile Python programs, and how each must end: (status, code, what the reason names)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PROLOGUE = """
from inferlet import *
import asyncio, gc, json, os, re, sys, time

def work():
    q = get_auto_model().create_queue()
    pages, embeds = alloc_kvpage(q, 2), alloc_emb(q, 8)
    embed_txt(q, list(range(8)), list(range(8)), embeds)
    return q, pages, embeds
"""


@dataclass(frozen=True)
class Attack:
    """`limits`: what differs from the defaults. `stop`: the client stops it when it has sent its first message."""

    program: Any  # source text, without the prologue; or a component
    status: str
    code: str | None
    reason: str  # a regular expression; of a program that finishes, for the text it returned
    limits: Mapping[str, Any] = field(default_factory=dict)
    stop: bool = False


def failed(source: str, reason: str, **limits: Any) -> Attack:
    """It ends by its own error."""
    return Attack(source, "failed", "program", reason, limits)


def over(source: str, reason: str, **limits: Any) -> Attack:
    """A limit ends it."""
    return Attack(source, "terminated", "resource", reason, limits)


def finished(source: str, value: str, **limits: Any) -> Attack:
    """It may do that, and harms nobody."""
    return Attack(source, "finished", None, value, limits)


CPU = {"cpu_s": 0.3}
WALL = {"wall_s": 0.4}

MAY = """# /// inferlet
# hosts = ["*"]
# spawn = true
# ///"""
BOMB = f"""{MAY}
from inferlet import *
async def main():
    while True: spawn("bomb", get_arg(), source=get_arg()[0])
"""

PYTHON: dict[str, Attack] = {
    # time
    "infinite loop": over("async def main():\n  while True: pass", "cpu_s", **CPU),
    "busy polling of the loop": over("async def main():\n  while True: await asyncio.sleep(0)", "cpu_s", **CPU),
    "busy polling of the server": over("async def main():\n  while True: await sleep(0)", "cpu_s", **CPU),
    "a hostile regular expression": over("async def main():\n  re.match('(a|aa)+$', 'a' * 60 + 'b')", "cpu_s", **CPU),
    "a giant number": over("async def main():\n  str(7 ** (1 << 22) % 10 ** (1 << 20))", "cpu_s", **CPU),
    "a loop before main": over("while True: pass\nasync def main(): pass", "cpu_s", **CPU),
    "endless sleep": over("async def main():\n  await sleep(1e300)", r"longer than the 0\.4 s", **WALL),
    "endless sleep of asyncio": over(
        "async def main():\n  await asyncio.sleep(1e9)", r"longer than the 0\.4 s", **WALL
    ),
    "endless sleep that blocks": over("async def main():\n  time.sleep(1e9)", r"longer than the 0\.4 s", **WALL),
    "waiting for a message that never comes": over("async def main():\n  await receive()", "0.4 s", **WALL),
    "waiting for nothing": failed("async def main():\n  await asyncio.Future()", "something that cannot happen"),
    "ignoring all errors": over(
        """
async def main():
    q, pages, embeds = work()
    while True:
        for attempt in (lambda: dealloc_emb(q, [7]), lambda: alloc_kvpage(q, 10**6), lambda: forward(q, [], [], [])):
            try: attempt()
            except BaseException: pass
""",
        "cpu_s",
        **CPU,
    ),
    "swallowing cancellation": Attack(
        """
async def main():
    send("ready")
    while True:
        try: await sleep(3600)
        except BaseException: pass
""",
        "stopped",
        "terminated",
        "enough of it",
        stop=True,
    ),
    "spinning when it is stopped": Attack(
        "async def main():\n  send('ready')\n  while True: pass", "stopped", "terminated", "enough of it", stop=True
    ),
    # memory and stack
    "recursion": failed("def f(): f()\nasync def main(): f()", "RecursionError"),
    "recursion without a limit": Attack(
        "def f(): f()\nasync def main():\n  sys.setrecursionlimit(10**9)\n  f()",
        "(failed|terminated)",
        "(program|resource)",
        "RecursionError|MemoryError|nest too deeply",
    ),
    "recursion within C": Attack(
        "async def main():\n  a = []\n  for _ in range(10**6): a = [a]\n  repr(a)",
        "(failed|terminated)",
        "(program|resource)",
        "RecursionError|nest too deeply",
    ),
    "deep JSON": Attack(
        "async def main():\n  json.loads('[' * 10**6)",
        "(failed|terminated)",
        "(program|resource)",
        "RecursionError|nest too deeply",
    ),
    "memory growth": failed("async def main():\n  a = []\n  while True: a.append(bytearray(1 << 20))", "MemoryError"),
    "memory growth that is never given up": over(
        """
async def main():
    a = []
    while True:
        try: a.append(bytearray(1 << 20))
        except MemoryError: pass
""",
        "cpu_s",
        **CPU,
    ),
    "a program that has no memory to start": over("async def main(): pass", "memory_bytes", memory_bytes=16 << 20),
    "a program that has no table to start": over("async def main(): pass", "table_elements", table_elements=100),
    "tasks without end": Attack(
        "async def main():\n  a = []\n  while True: a.append(asyncio.create_task(sleep(1)))",
        "(failed|terminated)",
        "(program|resource)",
        "MemoryError|rust_oom|cpu_s",
        {"cpu_s": 0.6, "memory_bytes": 32 << 20},
    ),
    "queues without end": failed(
        "async def main():\n  a = []\n  while True: a.append(get_auto_model().create_queue())", "1024 queues"
    ),
    "a giant exception": failed(
        "async def main():\n  raise ValueError('x' * (20 << 20))", r"^(?s:.{0,70000})$", memory_bytes=256 << 20
    ),
    "a giant result": Attack(
        "async def main():\n  return 'x' * 100_000", "failed", "argument", "over the limit", {"message_bytes": 65536}
    ),
    # messages
    "a giant message": failed("async def main():\n  send('x' * 100_000)", "over the limit", message_bytes=65536),
    "a message flood": failed("async def main():\n  while True: send('x')", "outbox", outbox_messages=500),
    "a flood of heavy messages": failed(
        "async def main():\n  while True: send_blob(bytes(1 << 16))", "outbox", waiting_bytes=1 << 20
    ),
    "an output flood": failed("async def main():\n  while True: print('x' * 1000)", "outbox", outbox_messages=500),
    "reads that are given up": over(
        """
async def main():
    while True:
        try: await asyncio.wait_for(receive(), 1e-4)
        except TimeoutError: pass
""",
        "cpu_s",
        **CPU,
    ),
    # handles and arguments
    "a bad handle": failed("async def main():\n  q = work()[0]\n  dealloc_emb(q, [999999])", "999999 is not a embed"),
    "a double free": failed(
        "async def main():\n  q, pages, embeds = work()\n  h = list(embeds)\n  dealloc_emb(q, h)\n  dealloc_emb(q, h)",
        "freed before",
    ),
    "one handle freed twice at once": failed(
        "async def main():\n  q, pages, embeds = work()\n  dealloc_emb(q, [list(embeds)[0]] * 2)", "named twice"
    ),
    "handles of others": finished(
        """
from wit_world.imports import allocate, forward as raw, input_text
async def main():
    q, pages, embeds = work()
    mine = {*map(int, pages), *map(int, embeds)}
    got = 0
    for handle in range(max(mine) + 2000):
        if handle in mine: continue
        for attempt in (
            lambda: allocate.dealloc_kvpage(1, [handle]),
            lambda: allocate.dealloc_emb(1, [handle]),
            lambda: allocate.export_kvpage([handle], "loot", None),
            lambda: input_text.embed_txt(1, [1], [1], [handle]),
            lambda: raw.forward(1, [handle], list(map(int, embeds)), list(map(int, pages)), [], None),
        ):
            try: attempt(); got += 1
            except Exception: pass
    for queue in [0, *range(2, 2000), 2**32 - 1]:
        try: allocate.alloc_emb(queue, 1); got += 1
        except Exception: pass
    return f"{got} taken"
""",
        "^0 taken$",
    ),
    "negative and too large numbers": finished(
        """
async def main():
    q, pages, embeds = work()
    refused = 0
    for attempt in (
        lambda: alloc_kvpage(q, -1), lambda: alloc_kvpage(q, 2**32), lambda: alloc_emb(q, 2**31),
        lambda: embed_txt(q, [-1], [0], embeds[:1]), lambda: embed_txt(q, [1], [2**32 - 1], embeds[:1]),
        lambda: copy_kvpage(q, pages[:1], pages[1:], -1, 0), lambda: copy_kvpage(q, pages[:1], pages[1:], 17, 0),
        lambda: copy_kvpage(q, pages[:1], pages[1:], 0, 0, 2**32 - 1), lambda: detokenize(q, [2**32 - 1]),
        lambda: get_next_dist(q, embeds[:1], top_k=2**40), lambda: q.set_priority(2**31),
        lambda: export_kvpage(pages, "mine", float("nan")), lambda: export_kvpage(pages, "mine", -1.0),
    ):
        try: attempt()
        except (PieError, AttributeError): refused += 1
    return f"{refused} refused"
""",
        "^13 refused$",
    ),
    "numbers that are none": finished(
        """
async def main():
    refused = 0
    for seconds in (float("nan"), -1.0, float("-inf")):
        try: await sleep(seconds)
        except PieError: refused += 1
    return f"{refused} refused"
""",
        "^3 refused$",
    ),
    "masks of a wrong size": finished(
        """
from wit_world.imports import forward as raw, types
async def main():
    q, pages, embeds = work()
    refused = 0
    for rows, cols, data in (
        (8, 8, b""), (8, 8, bytes(7)), (8, 8, bytes(9)), (2**32 - 1, 2**32 - 1, bytes(8)), (2**32 - 1, 0, b""),
        (0, 2**32 - 1, b""), (0, 0, b""), (1, 8, bytes(1)), (64, 1, bytes(8)), (16, 8, bytes(16)),
    ):
        try: raw.forward(1, [], list(map(int, embeds)), list(map(int, pages)), [], types.Mask(rows, cols, data))
        except Exception: refused += 1
    return f"{refused} refused"
""",
        "^10 refused$",
    ),
    "a mask of NaN": failed(
        "async def main():\n  q, pages, embeds = work()\n"
        "  forward(q, [], embeds, pages, [], mask=[[float('nan')] * 8] * 8)",
        "True and False",
    ),
    # tickets
    "tickets of other calls": finished(
        """
from wit_world.imports import output_text, runtime, tickets
async def main():
    q, pages, embeds = work()
    await synchronize(q)
    dist, alarm = output_text.get_next_dist(1, [int(list(embeds)[0])], 1), runtime.sleep(0.0)
    tickets.wait([dist]), tickets.wait([alarm])
    refused = 0
    for attempt in (
        lambda: output_text.get_next_dist_result(alarm), lambda: runtime.receive_result(dist),
        lambda: output_text.get_next_dist_result(0), lambda: output_text.get_next_dist_result(2**64 - 1),
        lambda: tickets.outcome(2**64 - 1), lambda: tickets.outcome(0),
    ):
        try: attempt()
        except Exception: refused += 1
    output_text.get_next_dist_result(dist)
    try: output_text.get_next_dist_result(dist)
    except Exception: refused += 1
    tickets.drop([0, 1, 2**64 - 1, dist, dist])
    return f"{refused} refused"
""",
        "^7 refused$",
    ),
    "a result that is long in coming": finished(
        """
import time
from wit_world.imports import runtime, tickets
async def main():
    started = time.monotonic()
    runtime.receive()
    tickets.outcome(runtime.sleep(0.05))
    return "slept" if time.monotonic() - started >= 0.05 else "woke early"
""",
        "^slept$",
    ),
    "waiting for a ticket never issued": Attack(
        "from wit_world.imports import tickets\nasync def main(): tickets.wait([10**12])",
        "failed",
        "handle",
        "1000000000000 was never a ticket",
    ),
    "waiting for no ticket": Attack(
        "from wit_world.imports import tickets\nasync def main(): tickets.wait([])", "failed", "handle", "no ticket"
    ),
    "tickets that nobody takes": failed(
        "from wit_world.imports import runtime\nasync def main():\n  while True: runtime.receive()",
        "results were not taken",
        cpu_s=20.0,
    ),
    # resources
    "pages beyond the quota": failed(
        "async def main():\n  q = work()[0]\n  a = []\n  while True: a += alloc_kvpage(q, 1)",
        "over the 5 that one inferlet may hold",
        kvpages=5,
    ),
    # the network, the store, topics, other programs
    "requests to hosts that are not allowed": over(
        f"""
{MAY}
async def main():
    while True:
        for host in ("127.0.0.1", "169.254.169.254", "localhost", "b.test", "0x7f.1", "a.test@127.0.0.1", "[::1]"):
            try: await http_get(f"http://{{host}}/")
            except PieError: pass
            else: return
""",
        "cpu_s",
        cpu_s=0.1,
    ),
    "a flood of requests": failed(
        f"{MAY}\nasync def main():\n  a = []\n  while True: a.append(http_get('http://a.test/'))",
        "8 requests are under way",
    ),
    "headers that smuggle": finished(
        f"""
{MAY}
from inferlet.host import host
async def main():
    refused = 0
    for line in ("Host: b", "A: b\\r\\nHost: c", "Content-Length: 9", "Transfer-Encoding: x", "A:\\0", "no colon"):
        try: host().call("http_get", None, None, ("http://a.test/", [line]))
        except ArgumentError: refused += 1
    return f"{{refused}} refused"
""",
        "^6 refused$",
    ),
    "a flood of the store": failed(
        "async def main():\n  while True: store_set('key', 'x' * 1000)", "256 accesses are not done"
    ),
    "filling the store": failed(  # which other attacks of the same user may fill, too
        "async def main():\n  n = 0\n  while True:\n    n += 1\n    await store_set(f'f{n}', 'x' * 10000)",
        "limit `store_(bytes|keys)`",
        store_bytes=1 << 20,
    ),
    "keys without end": failed(
        "async def main():\n  n = 0\n  while True:\n    n += 1\n    await store_set(f'k{n}', '')",
        "limit `store_(bytes|keys)`",
        store_keys=100,
    ),
    "subscriptions without end": failed(
        "async def main():\n  while True: subscribe('a')", "the inferlet has 64 subscriptions"
    ),
    "broadcasting to nobody who reads": over(
        "async def main():\n  a = [subscribe('a') for _ in range(64)]\n  while True: broadcast('a', 'x' * 10000)",
        "cpu_s",
        cpu_s=0.1,
    ),
    "a spawn bomb": failed(
        f"{MAY}\nasync def main():\n  while True: spawn('bomb', get_arg() or [BOMB], source=(get_arg() or [BOMB])[0])\n"
        f"BOMB = {BOMB!r}",
        "limit `descendants`",
        descendants=4,
    ),
    "children that are cancelled at once": failed(
        f"{MAY}\nasync def main():\n  while True: spawn('bomb', source={BOMB!r}).cancel()",
        "limit `descendants`|were not joined",
        descendants=4,
    ),
    "numbers of things that are not there": finished(
        """
from wit_world.imports import runtime, tickets
async def main():
    refused = 0
    for number in (0, 1, 2**32 - 1):
        for attempt in (
            lambda: runtime.next_message(number), lambda: runtime.unsubscribe(number),
            lambda: runtime.join_child(number), lambda: runtime.send_to_child(number, ""),
            lambda: runtime.receive_from_child(number), lambda: runtime.cancel_child(number),
            lambda: runtime.store_get_result(number), lambda: runtime.http_get_result(number),
        ):
            try: attempt()
            except Exception: refused += 1
    return f"{refused} refused"
""",
        "^24 refused$",
    ),
    # crashes
    "an error in the middle of a wave": failed(
        "async def main():\n  q, pages, embeds = work()\n"
        "  for _ in range(20): forward(q, [], embeds, alloc_kvpage(q, 1), embeds[:1])\n  1 / 0",
        "ZeroDivisionError",
    ),
    "a trap in the middle of a wave": failed(
        "async def main():\n  q, pages, embeds = work()\n"
        "  for _ in range(20): forward(q, [], embeds, alloc_kvpage(q, 1), embeds[:1])\n  os.abort()",
        "crashed",
    ),
    "sys.exit": failed("async def main():\n  sys.exit(3)", "SystemExit: 3"),
    "a real exit": failed("async def main():\n  work()\n  os._exit(3)", "exited with a failure status"),
    "a real exit that is fine": finished("async def main():\n  work()\n  os._exit(0)", ""),
    # the system
    "reading a file": failed("async def main(): open('/etc/passwd')", "FileNotFoundError"),
    "opening a socket": failed(
        "import socket\nasync def main():\n  socket.create_connection(('127.0.0.1', 80))", "not offered to programs"
    ),
    "starting a thread": failed(
        "import threading\nasync def main():\n  threading.Thread(target=print).start()", "can't start new thread"
    ),
    "starting a process": failed("async def main():\n  print(os.environ)\n  os.fork()", "AttributeError|OSError"),
    "random bytes without end": over("async def main():\n  while True: os.urandom(1 << 22)", "cpu_s", **CPU),
}
