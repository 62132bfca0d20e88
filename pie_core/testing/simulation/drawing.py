"""From a seed to a world."""

from __future__ import annotations

import random
from collections.abc import Mapping

import msgspec

from pie_core.control.policy import PolicySpec
from pie_core.testing.simulation.installed import Installed, load_installed
from pie_core.testing.simulation.lingering import with_lingers
from pie_core.testing.simulation.programs import Author, Share
from pie_core.testing.simulation.world import NEVER, Client, Visit, World

_CLASSIC = "adaptive", "fcfs-kill"


def draw_world(
    seed: int, installed: Installed | None = None, dispatch: str | None = None, contention: str | None = None
) -> World:
    """The world of a seed: small, so that everything in it is scarce.

    dispatch, contention: policies as `Installed` makes them; without, each world draws its own of those installed.
    """
    chance = random.Random(f"policies of {seed}")  # of its own, so that a forced policy changes nothing else
    drawn = _draw_policies(chance, installed or load_installed())
    policies = dispatch or drawn[0], contention or drawn[1]
    hungry = policies != _CLASSIC  # else the pools are seldom dry for long
    steps = random.Random(f"steps of {seed}")
    lingering = steps.random() < 0.5
    draw = random.Random(seed)
    pages = draw.choice([4, 4, 5, 6, 8] if hungry else [4, 6, 8, 12, 24])
    embeds = draw.choice([6, 8, 12, 24])
    size = draw.choice([2, 3, 4])
    kvpage_quota = draw.choice([None, None, draw.randint(2 + hungry, pages)])
    embed_quota = draw.choice([None, None, draw.randint(3, embeds)])
    names: dict[str, list[str]] = {"ann": [], "bob": []}
    visits = []
    count = draw.choice([2, 3, 4, 5, 6] if hungry else [1, 2, 3, 4, 5, 6])
    busy = draw.choice(
        [0.0, 0.0, 0.02, 0.02, 0.1] if hungry else [0.0, 0.0, 0.0, 0.02, 0.3]
    )  # over how long they arrive
    for place in range(count):
        user = draw.choice(["ann", "ann", "bob"])
        share = Share(min(pages, kvpage_quota or pages), min(embeds, embed_quota or embeds))
        share.pages, share.embeds = draw.randint(2 + hungry, share.pages), draw.randint(3, share.embeds)
        author = Author(draw, share, size, f"{place}.", list(names[user]), hungry)
        operations = author.program(draw.choice([4, 10, 18]))
        if lingering:
            operations = with_lingers(operations, steps, size, f"{place}.left")
            author.exports.append(f"{place}.left")
        names[user] += author.exports
        visits.append(
            Visit(
                operations,
                user,
                round(draw.uniform(0.0, busy), 4),
                _client(draw, author.receives),
                draw.choice([NEVER] * (6 if hungry else 2) + [draw.randint(0, 20), draw.randint(0, 200)]),
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
        swap_s=chance.choice([0.0, 0.0, 0.05, 0.5]),
        swap_out_fails=chance.choice([None] * 6 + [0, chance.randint(1, 4)]),
        swap_in_fails=chance.choice([None] * 3 + [0, chance.randint(1, 4)]),
        dispatch=policies[0],
        contention=policies[1],
    )


def _draw_policies(draw: random.Random, installed: Installed) -> tuple[str, str]:
    """Four worlds in ten have the classic pair, and so have some of the others by chance."""
    if draw.random() < 0.4:
        return _CLASSIC
    return _policy(draw, installed.dispatch), _policy(draw, installed.contention)


def _policy(draw: random.Random, policies: Mapping[str, PolicySpec]) -> str:
    """A policy, now and then with options that are far from its defaults."""
    name = draw.choice(list(policies))
    chosen = [name]
    for field in msgspec.structs.fields(policies[name].options):
        if type(field.default) is int:
            value: float = draw.choice([field.default, field.default, draw.randint(1, 4), draw.randint(16, 512)])
        elif type(field.default) is float:
            value = field.default * draw.choice([1, 1, 0.1, 3])
        else:
            continue
        if value != field.default:
            chosen.append(f"{field.name}={value}")
    return " ".join(chosen)


def _client(draw: random.Random, receives: int) -> Client:
    return Client(
        tuple(draw.choice([0.0, 0.001, 0.02]) for _ in range(receives + draw.randint(0, 2))),
        draw.choice([0.0, 0.0, 0.05]),
        draw.choice([None, None, None, None, draw.randint(0, 2)]),
    )
