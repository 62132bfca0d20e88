"""Holds pages and Embeds, keeps the device busy, and sends a line per step until it is stopped."""

from inferlet import alloc_emb, alloc_kvpage, embed_txt, forward, get_auto_model, get_next_dist, send, sleep


async def main():
    q = get_auto_model().create_queue()
    pages, emb = alloc_kvpage(q, 8), alloc_emb(q, 1)
    step = 0
    while True:
        embed_txt(q, [65], [step % 100], emb)
        if step < 100:
            forward(q, pages, emb, pages, emb)
        await get_next_dist(q, emb)
        send(f"step {step}")
        step += 1
        await sleep(0)
