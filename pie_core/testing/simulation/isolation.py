"""Isolation: what an inferlet comes to beside others is what it comes to alone."""

from __future__ import annotations

from dataclasses import replace

from pie_core.testing.simulation.trace import Trace
from pie_core.testing.simulation.world import NEVER, World

MISTAKES = ("the program's own mistake", "SystemExit: 3")  # verbs `raise` and `exit`


def alone(world: World) -> World:
    """The same programs one after the other, with room for all, nobody stopped, and the same quotas.

    They come in the order of their arrival in the list, so that pages exported by one are there for the next.
    """
    return replace(
        world,
        visits=tuple(replace(visit, stop_after=NEVER) for visit in world.visits),
        pages=world.pages * (len(world.visits) + 1),
        embeds=world.embeds * (len(world.visits) + 1),
        kvpage_quota=min(world.pages, world.kvpage_quota or world.pages),
        embed_quota=min(world.embeds, world.embed_quota or world.embeds),
        batch_limit=4096,
        inbox=64,
        outbox=1024,
        wall_s=3600.0,
        wave_s=0.0,
        swap_s=0.0,
        swap_out_fails=None,
        swap_in_fails=None,
        shuffled=False,
        serial=True,
        shut_down_at=None,
        dispatch="adaptive",
        contention="fcfs-kill",
    )


def differences(world: World, together: list[Trace], apart: list[Trace]) -> list[str]:
    """What others changed for an inferlet."""
    unsure = {
        name
        for one, other in zip(together, apart, strict=True)
        if one.stage.tainted or other.stage.tainted
        for name in _exports(one)
    }
    unsure |= {name for trace in (*together, *apart) for name in trace.stage.unsure}
    found = []
    for place, (one, other) in enumerate(zip(together, apart, strict=True)):
        found += [f"i{place}: {difference}" for difference in _outcomes(world, one, other)]
        astray = _astray(one.stage.notes.get("", []), other.stage.notes.get("", []), unsure)
        for task in one.stage.notes:
            if task and astray:
                continue  # it may work on what was imported
            cut = one.cause is not None or any(task.startswith(part) for part in one.stage.partial)
            difference = _notes(one.stage.notes[task], other.stage.notes.get(task, []), cut, unsure)
            if difference:
                found.append(f"i{place}, task {task!r}: {difference}")
    return found


def _exports(trace: Trace) -> list[str]:
    return [operation[2] for operation in trace.visit.operations if operation[0] == "export"]


def _outcomes(world: World, one: Trace, other: Trace) -> list[str]:
    """How it ended: as told from outside, or as it ends alone."""
    if one.ended is None or other.ended is None or other.cause is not None:
        return ["it never ended"]
    expected = {
        "stop": ("stopped", None, "terminated"),
        "evict": ("terminated", None, "terminated"),
        "wall": ("terminated", None, "resource"),
        None: (other.ended.status, other.ended.value, other.ended.code),
    }[one.cause]
    told = (one.ended.status, one.ended.value, one.ended.code)
    found = [] if told == expected else [f"it ended as {told}, not as {expected} ({one.cause or 'alone'})"]
    if one.cause == "wall" and world.wall_s >= 1000:
        found.append("it was never done, though alone it ends")
    if one.ended.status == "failed" and not any(mistake in (one.ended.error or "") for mistake in MISTAKES):
        found.append(f"it failed, which is no mistake of its own: {one.ended.error}")
    if one.stage.over and one.cause is None:
        found.append("it was told that it had ended, though nobody ended it")
    return found


def _notes(one: list[str], other: list[str], cut: bool, unsure: set[str]) -> str | None:
    """Both must agree up to where timing may show, and have the same length unless the task was cut short."""
    for left, right in zip(one, other, strict=False):
        if "!" in left or "!" in right:
            return f"{left!r}, alone {right!r}: a wrong answer"
        if left.startswith("~") or right.startswith("~"):
            return None
        if _imports_otherwise(left, right, unsure):
            return None
        if left != right:
            return f"{left!r}, alone {right!r}"
    if not cut and len(one) != len(other):
        return f"{len(one)} operations were done, alone {len(other)}"
    return None


def _astray(one: list[str], other: list[str], unsure: set[str]) -> bool:
    """Whether two runs of a program have imported different things."""
    return any(_imports_otherwise(left, right, unsure) for left, right in zip(one, other, strict=False))


def _imports_otherwise(left: str, right: str, unsure: set[str]) -> bool:
    """Whether an import was there in time, and whether what was there is sound, depends on others."""
    return left.startswith("import ") and (left != right or left.split()[1] in unsure)
