"""From a seed to a world."""

from __future__ import annotations

import random

from pie_core.testing.simulation.programs import Author, Share
from pie_core.testing.simulation.world import NEVER, Client, Visit, World


def draw_world(seed: int, dispatch: str = "adaptive", contention: str = "fcfs-kill") -> World:
    """The world of a seed: small, so that everything in it is scarce."""
    draw = random.Random(seed)
    pages, embeds = draw.choice([4, 6, 8, 12, 24]), draw.choice([6, 8, 12, 24])
    size = draw.choice([2, 3, 4])
    kvpage_quota = draw.choice([None, None, draw.randint(2, pages)])
    embed_quota = draw.choice([None, None, draw.randint(3, embeds)])
    names: dict[str, list[str]] = {"ann": [], "bob": []}
    visits = []
    count = draw.choice([1, 2, 3, 4, 5, 6])
    busy = draw.choice([0.0, 0.0, 0.0, 0.02, 0.3])  # over how long they arrive
    for place in range(count):
        user = draw.choice(["ann", "ann", "bob"])
        share = Share(min(pages, kvpage_quota or pages), min(embeds, embed_quota or embeds))
        share.pages, share.embeds = draw.randint(2, share.pages), draw.randint(3, share.embeds)
        author = Author(draw, share, size, f"{place}.", list(names[user]))
        operations = author.program(draw.choice([4, 10, 18]))
        names[user] += author.exports
        visits.append(
            Visit(
                operations,
                user,
                round(draw.uniform(0.0, busy), 4),
                _client(draw, author.receives),
                draw.choice([NEVER, NEVER, draw.randint(0, 20), draw.randint(0, 200)]),
            )
        )
    return World(
        tuple(visits),
        seed=seed,
        pages=pages,
        embeds=embeds,
        page_size=size,
        batch_limit=draw.choice([1, 2, 3, 4096, 4096]),
        kvpage_quota=kvpage_quota,
        embed_quota=embed_quota,
        inbox=draw.choice([1, 64, 64]),
        outbox=draw.choice([1, 3, 1024, 1024]),
        wall_s=draw.choice([3600.0, 3600.0, 3600.0, 0.05]),
        wave_s=draw.choice([0.0, 0.001, 0.02, 0.5]),
        shuffled=draw.random() < 0.3,
        shut_down_at=round(draw.uniform(0.0, 0.3), 4) if draw.random() < 0.05 else None,
        dispatch=dispatch,
        contention=contention,
    )


def _client(draw: random.Random, receives: int) -> Client:
    return Client(
        tuple(draw.choice([0.0, 0.001, 0.02]) for _ in range(receives + draw.randint(0, 2))),
        draw.choice([0.0, 0.0, 0.05]),
        draw.choice([None, None, None, None, draw.randint(0, 2)]),
    )
