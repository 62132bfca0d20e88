"""What a waiting program takes: nearly all of the interpreter's memory stays shared."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from pie_core.application.program import Program
from pie_core.application.wasm.cache import default_directory
from tests.wasm.applications import play, run

GUESTS = 16
MOST_KIB = 750  # of linear memory; 3000 before anything was done about it
CODE = re.compile(r"[0-9a-f]+-[0-9a-f]+ rw-p .*\.cwasm$")

WAITS = """
import asyncio, gc
from inferlet import *

async def main():
    queue = get_auto_model().create_queue()
    embeds = alloc_emb(queue, 1)
    embed_txt(queue, [1], [0], embeds)
    await get_next_dist(queue, embeds, 1)
    gc.collect()
    send("here")
    await asyncio.gather(receive(), receive())
"""
LOOKS = """
import json, sys, weakref

async def main():
    class Own:
        pass
    mine = Own()
    gone = weakref.ref(mine)
    del mine
    looked = json.loads, json.dumps.__code__, json.__dict__, "get_next_dist", sys.modules
    return f"{all(map(sys._is_immortal, looked))} {sys._is_immortal(Own)} {gone() is None}"
"""


def private_kib():
    """Of the memories of instances: what they share with no other. (A file just written is dirty, too: not that.)"""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            inside = CODE.match(line) is not None
        elif inside and line.startswith("Anonymous:"):
            found += int(line.split()[1])
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_waiting_python_program_has_about_a_mebibyte_of_memory_to_itself():
    async def test(application):
        async def wait():
            inferlet = await application.launch(Program("waits", WAITS, "waits.py"), [])
            arrived = asyncio.Event()
            inferlet.events.get().watch(lambda _: arrived.set())
            await arrived.wait()
            return inferlet

        waiting = [await wait()]
        before = private_kib()
        waiting += [await wait() for _ in range(GUESTS)]
        each = (private_kib() - before) / GUESTS
        assert 100 < each < MOST_KIB, f"{each:.0f} KiB"
        for inferlet in waiting:
            inferlet.deliver("go")
            inferlet.deliver("go")

    play(default_directory().parent, test)


def test_what_the_component_brings_is_immortal_and_what_the_program_makes_is_not():
    async def test(application):
        outcome = await run(application, Program("looks", LOOKS, "looks.py"))
        assert (outcome.status, outcome.value) == ("finished", "True False True"), outcome.error

    play(default_directory().parent, test)
