"""What `sandbox.py` measures: a program that waits for a word and then does one kind of work, `STEPS` times.

Its arguments are KIND and STEPS. `guest.c` makes the same calls.
"""

import asyncio

from inferlet import (
    alloc_emb,
    alloc_kvpage,
    embed_txt,
    forward,
    get_arg,
    get_auto_model,
    get_next_dist,
    get_version,
    receive,
    send,
)

BRANCHES = 4


async def ready():
    send("ready")
    await receive()


async def calls(model, q, steps):
    """Calls that are answered at once."""
    await ready()
    for _ in range(steps):
        get_version()


async def forwards(model, q, steps):
    """Forwards, each awaited."""
    pages, emb = alloc_kvpage(q, 2), alloc_emb(q, 1)
    embed_txt(q, 1, 0, emb)
    forward(q, pages, emb, pages, emb)
    await ready()
    for _ in range(steps):
        await forward(q, pages, emb, pages, emb)


async def decode(model, q, steps):
    """Decode steps: what is the next token, embed it, run it."""
    pages, emb = alloc_kvpage(q, 2), alloc_emb(q, 1)
    embed_txt(q, 1, 0, emb)
    forward(q, pages, emb, pages, emb)
    await ready()
    for step in range(steps):
        token = (await get_next_dist(q, emb, 1)).max_index()
        embed_txt(q, token, step + 1, emb)
        forward(q, pages, emb, pages, emb)


async def gathered(model, q, steps):
    """Several sequences at once, each on a queue of its own."""

    async def branch():
        mine, pages, emb = model.create_queue(), alloc_kvpage(q, 2), alloc_emb(q, 1)
        for step in range(steps):
            embed_txt(mine, 1, step, emb)
            forward(mine, pages, emb, pages, emb)
            await get_next_dist(mine, emb, 1)

    await ready()
    await asyncio.gather(*(branch() for _ in range(BRANCHES)))


async def main():
    """Do as the arguments say."""
    kind, steps = get_arg()
    model = get_auto_model()
    kinds = {work.__name__: work for work in (calls, forwards, decode, gathered)}
    await kinds[kind](model, model.create_queue(), int(steps))
