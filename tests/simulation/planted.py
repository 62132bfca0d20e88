"""Bugs to plant: the simulation must find each of them.

Each is a piece of the code and what to put in its place. They are applied to a copy of the sources; a text that is
not there exactly once is an error, so that a bug whose place has changed is brought up to date.

    python tests/simulation/planted.py [--seeds 1000] [NAME ...]    prints the first seed that finds each
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PACKAGES = ["pie_core", "plugins/traits_text/src/pie_traits_text"]
TRAITS = "plugins/traits_text/src/pie_traits_text"


@dataclass(frozen=True)
class Planted:
    """`old` in `file` becomes `new`."""

    name: str
    file: str
    old: str
    new: str


BUGS = [
    Planted(
        "a read does not wait for the write before it",
        "pie_core/control/hazards.py",
        "        if writer is not None and not writer.launched:\n",
        "        if False:\n",
    ),
    Planted(
        "a write does not wait for the write before it",
        "pie_core/control/hazards.py",
        "if writer is not None and writer is not submission and not writer.launched:",
        "if False:",
    ),
    Planted(
        "a write does not wait for the reads before it",
        "pie_core/control/hazards.py",
        "if reader is not submission and not reader.launched:",
        "if False:",
    ),
    Planted(
        "readers are forgotten before they are launched",
        "pie_core/control/hazards.py",
        "        readers.append(submission)\n",
        "        readers[:] = [submission]\n",
    ),
    Planted(
        "a command is ready when one of two it waits for is launched",
        "pie_core/control/hazards.py",
        "if successor.blockers == 0:",
        "if successor.blockers <= 1:",
    ),
    Planted(
        "a failed command goes on using what it touched",
        "pie_core/control/completion.py",
        "        self._settle(submission, None)\n        submission.queue.leave(submission)\n",
        "        submission.queue.leave(submission)\n",
    ),
    Planted(
        "a command is finished twice",
        "pie_core/control/completion.py",
        "                self._finish(submission, batch.results[place])\n",
        "                self._finish(submission, batch.results[place])\n"
        "                self._finish(submission, batch.results[place])\n",
    ),
    Planted(
        "a command is never told that it is done",
        "pie_core/control/completion.py",
        "        submission.ticket.resolve(result)\n",
        "        if len(submission.reads) != 3: submission.ticket.resolve(result)\n",
    ),
    Planted(
        "nobody looks at the backlog after a wave",
        "pie_core/control/scheduler.py",
        "        if self.backlog or self._memory.waited_for or self._awaited:\n            self._looks.soon()\n",
        "",
    ),
    Planted(
        "nobody looks again when it was not quiet",
        "pie_core/control/scheduler.py",
        "        elif idle and not quiet:\n            self._looks.soon()\n",
        "",
    ),
    Planted(
        "a failure poisons nothing",
        "pie_core/control/completion.py",
        "        self._poison.spread(submission)\n",
        "",
    ),
    Planted(
        "poison outlives what was poisoned",
        "pie_core/control/memory.py",
        "        self._poison.forget(record)\n",
        "",
    ),
    Planted(
        "poison does not heal",
        "pie_core/control/poison.py",
        "                del self.by_id[id(resource)]\n",
        "                pass\n",
    ),
    Planted(
        "poison spares what is in line already",
        "pie_core/control/completion.py",
        "bool(self._poison.by_id or self._unstaged)",
        "bool(self._unstaged)",
    ),
    Planted(
        "poison reaches back to earlier commands",
        "pie_core/control/poison.py",
        "            if culprit.seq < submission.seq:\n",
        "            if True:\n",
    ),
    Planted(
        "poison spares readers of what was freed",
        "pie_core/control/poison.py",
        "            if known is None or failed.launched or failed.seq < known.seq:\n",
        "            if resource.holders and (known is None or failed.launched or failed.seq < known.seq):\n",
    ),
    Planted(
        "an ending inferlet's commands are all dropped",
        "pie_core/control/remains.py",
        "            if submission not in kept and ended is not None:\n",
        "            if ended is not None:\n",
    ),
    Planted(
        "an ending inferlet's commands all still run",
        "pie_core/control/remains.py",
        "            if submission not in kept and ended is not None:\n",
        "            if False:\n",
    ),
    Planted(
        "an export that its exporter freed counts as nobody's",
        "pie_core/control/hazards.py",
        "any(resource.holders for",
        "any(resource.holders > 1 for",
    ),
    Planted(
        "an ended inferlet may go on calling",
        "pie_core/control/layer.py",
        "        space.check_alive()\n",
        "",
    ),
    Planted(
        "handles are given out again",
        "pie_core/control/layer.py",
        "self._last_handle % HIGHEST_HANDLE + 1",
        "self._last_handle % 24 + 1",
    ),
    Planted(
        "a page is free while a command uses it",
        "pie_core/control/memory.py",
        "                if record.uses:\n",
        "                if False:\n",
    ),
    Planted(
        "draining pages are not counted",
        "pie_core/control/memory.py",
        "                    self.pools[type(record)].draining += 1\n",
        "                    pass\n",
    ),
    Planted(
        "an export holds nothing",
        "pie_core/control/memory.py",
        "export, space.export_limits)\n        for page in pages:\n            page.holders += 1\n",
        "export, space.export_limits)\n",
    ),
    Planted(
        "an import holds nothing",
        "pie_core/control/memory.py",
        "        pages = self.exported(user, name)\n        for page in pages:\n            page.holders += 1\n",
        "        pages = self.exported(user, name)\n",
    ),
    Planted(
        "what a user has given back is charged still",
        "pie_core/control/memory.py",
        "                    record.budget.release(record)\n",
        "                    pass\n",
    ),
    Planted(
        "an expired export is freed twice",
        "pie_core/control/memory.py",
        "            self.release(user, name)\n",
        "            self.drop(self._exports.find(user, name, '').pages)\n            self.release(user, name)\n",
    ),
    Planted(
        "allocations that wait are not served when a wave is done",
        "pie_core/control/scheduler.py",
        "        self._memory.grant()\n        self._awaited = self._completion.running > 0\n        if self.backlog",
        "        self._awaited = self._completion.running > 0\n        if self.backlog",
    ),
    Planted(
        "an allocation overtakes those that wait",
        "pie_core/control/pool.py",
        "if self._waiting or len(self._free) < len(records):",
        "if len(self._free) < len(records):",
    ),
    Planted(
        "the last allocation that waits is served first",
        "pie_core/control/pool.py",
        "self._waiting.popleft()",
        "self._waiting.pop()",
    ),
    Planted(
        "what is draining does not count as coming back",
        "pie_core/control/pool.py",
        "asked - self.free - self.draining",
        "asked - self.free",
    ),
    Planted(
        "an ended inferlet's allocation waits for ever",
        "pie_core/control/remains.py",
        "            self._abandon(allocation, pool)\n",
        "            pass\n",
    ),
    Planted(
        "the oldest inferlet gives way",
        "pie_core/control/contention.py",
        "        return holders[-1]\n",
        "        return holders[0]\n",
    ),
    Planted(
        "the batches of a wave are in the wrong order",
        "pie_core/control/batching.py",
        "            wave.batches.append(Batch(kind, chosen))\n",
        "            wave.batches.insert(0, Batch(kind, chosen))\n",
    ),
    Planted(
        "priority is ignored",
        "pie_core/control/batching.py",
        "    return -submission.queue.priority, submission.seq\n",
        "    return 0, submission.seq\n",
    ),
    Planted(
        "the youngest command goes first",
        "pie_core/control/batching.py",
        "    return -submission.queue.priority, submission.seq\n",
        "    return -submission.queue.priority, -submission.seq\n",
    ),
    Planted(
        "the batch limit is ignored",
        "pie_core/control/batching.py",
        "            if weight > limit and count:\n",
        "            if False:\n",
    ),
    Planted(
        "what does not fit into a batch is lost",
        "pie_core/control/batching.py",
        "                self._ready[kind] = ready[count:]\n",
        "",
    ),
    Planted(
        "synchronize waits for one command too few",
        "pie_core/control/queue.py",
        "Barrier(self, len(self.outstanding))",
        "Barrier(self, max(1, len(self.outstanding) - 1))",
    ),
    Planted(
        "synchronize is not told of failed commands",
        "pie_core/control/queue.py",
        "        for barrier in submission.barriers or ():\n",
        "        for barrier in () if submission.error else submission.barriers or ():\n",
    ),
    Planted(
        "results are handed out in reverse",
        "pie_core/inference/running.py",
        "[(result, None) for result in answers(route, commands)]",
        "[(result, None) for result in answers(route, commands)[::-1]]",
    ),
    Planted(
        "a failure is everyone's in the batch",
        "pie_core/inference/running.py",
        "    return [run_together(route, [command])[0] for command in commands]\n",
        "        return [(None, device_error(command, error)) for command in commands]\n",
    ),
    Planted(
        "what depends on a failure in its wave runs",
        "pie_core/inference/device.py",
        "                        failed[id(resource)] = entry\n",
        "                        pass\n",
    ),
    Planted(
        "too few results are accepted",
        "pie_core/inference/running.py",
        "    if len(given) != len(commands):\n",
        "    given = list(given) + [None] * (len(commands) - len(given))\n    if False:\n",
    ),
    Planted(
        "a full channel drops what does not fit",
        "pie_core/application/channel.py",
        "        if len(self._messages) >= self._capacity or",
        "        if len(self._messages) >= self._capacity:\n            return\n"
        "        if len(self._messages) >= self._capacity or",
    ),
    Planted(
        "the newest message is read first",
        "pie_core/application/channel.py",
        "self._messages.popleft()",
        "self._messages.pop()",
    ),
    Planted(
        "a reader that gives up stays in line",
        "pie_core/application/channel.py",
        "        self._readers.pop(reader, None)\n",
        "",
    ),
    Planted(
        "a message that came as its reader was cancelled is lost",
        "pie_core/application/channel.py",
        "            self._messages.appendleft(message)\n",
        "            pass\n",
    ),
    Planted(
        "the end overtakes messages",
        "pie_core/application/channel.py",
        "                self._hand_over(last)\n",
        "                self._messages.insert(0, last) if self._messages else self._hand_over(last)\n",
    ),
    Planted(
        "the end is told twice",
        "pie_core/application/inferlet.py",
        "        self.events.close(why, last=outcome)\n",
        "        self.events._hand_over(outcome)\n        self.events.close(why, last=outcome)\n",
    ),
    Planted(
        "stop leaves spaces behind",
        "pie_core/application/application.py",
        "        for model, space in inferlet.spaces.items():\n",
        "        for model, space in () if outcome.status == 'stopped' else inferlet.spaces.items():\n",
    ),
    Planted(
        "a program that swallows its cancellation runs on",
        "pie_core/application/application.py",
        "            asyncio.get_running_loop().call_later(_RETRY_S, self._cancel, instance_id)\n",
        "",
    ),
    Planted(
        "the alarm of the wall limit stays",
        "pie_core/application/application.py",
        "            alarm.cancel()\n",
        "",
    ),
    Planted(
        "tasks of a program outlive it",
        "pie_core/application/native.py",
        "            guest.cancel_tasks()\n",
        "            pass\n",
    ),
    Planted(
        "copying a page forgets what is hidden",
        f"{TRAITS}/allocate.py",
        "    target.hidden = target.hidden & keep | (source.hidden >> src_start & window) << dst_start\n",
        "    target.hidden = target.hidden & keep\n",
    ),
    Planted(
        "an output Embed stands where its token stood",
        f"{TRAITS}/forward_plan.py",
        "        embed.position = position + 1\n",
        "        embed.position = position\n",
    ),
    Planted(
        "what was moved out is not brought back when it is wanted",
        "pie_core/control/layer.py",
        "        if space.swapped:\n            self.memory.recall(space)\n",
        "",
    ),
    Planted(
        "what was wanted as it left is not brought back",
        "pie_core/control/swapping.py",
        "        if swapped.writes and swapped.needed:\n",
        "        if False:\n",
    ),
    Planted(
        "what leaves is not counted",
        "pie_core/control/swapping.py",
        "        self._pools[kind].leaving += len(records)\n",
        "",
    ),
    Planted(
        "an inferlet that could go on is moved",
        "pie_core/control/swapping.py",
        "if space is requester or any(one.launched or not one.blockers for one in outstanding):",
        "if space is requester:",
    ),
    Planted(
        "what others hold too is moved",
        "pie_core/control/swapping.py",
        "if record.holders == 1]",
        "if record.holders]",
    ),
    Planted(
        "what was freed while a command waits is not moved",
        "pie_core/control/swapping.py",
        "[record for record in waiting if record.holders == 0]",
        "[]",
    ),
    Planted(
        "commands do not wait for what is moved",
        "pie_core/control/swapping.py",
        "                swapped.block(submission)\n",
        "                pass\n",
    ),
    Planted(
        "new commands do not wait for what was moved",
        "pie_core/control/swapping.py",
        "                record.writer = swapped\n",
        "                pass\n",
    ),
    Planted(
        "a copy that failed is taken for one that is there",
        "pie_core/control/swapping.py",
        "        if error is not None:\n            self._stay(swapped, error)\n            return\n",
        "",
    ),
    Planted(
        "after a copy that failed things are moved all the same",
        "pie_core/control/swapping.py",
        "        self.broken = str(error)\n",
        "",
    ),
    Planted(
        "a copy that cannot be brought back is taken for sound",
        "pie_core/control/swapping.py",
        "            self._lost(transfer)\n",
        "            pass\n",
    ),
    Planted(
        "host memory has no bound",
        "pie_core/control/swapping.py",
        "self._bytes_of[kind] <= self._host_bytes:",
        "self._bytes_of[kind]:",
    ),
    Planted(
        "host memory is never given back",
        "pie_core/control/swapping.py",
        "            self.used_bytes -= len(swapped.layout) * self._bytes_of[swapped.kind]\n",
        "",
    ),
    Planted(
        "what comes back is in the wrong order",
        "pie_core/control/swapping.py",
        "tuple([index.get(record) for record in swapped.layout])",
        "tuple([index.get(record) for record in swapped.layout][::-1])",
    ),
    Planted(
        "what was freed in host memory is brought back",
        "pie_core/control/swapping.py",
        "        swapped.writes = [other for other in swapped.writes if other is not record]\n",
        "",
    ),
    Planted(
        "what comes back comes behind the commands that want it",
        "pie_core/control/scheduler.py",
        "            wave.batches += form_wave(",
        "            wave.batches[:0] = form_wave(",
    ),
    Planted(
        "the older lend to the younger",
        "pie_core/control/swapping.py",
        "(space.arrival < requester.arrival or space.has_just_returned)",
        "space.has_just_returned",
    ),
    Planted(
        "who was just brought back is moved again",
        "pie_core/control/space.py",
        "return bool(self.returned) and not any(submission.begun for submission in self.returned)",
        "return False",
    ),
    Planted(
        "the youngest inferlet is served first",
        "pie_core/control/pool.py",
        "    return allocation.space.arrival, not allocation.returns\n",
        "    return -allocation.space.arrival, not allocation.returns\n",
    ),
    Planted(
        "an ended inferlet loses its place in line",
        "pie_core/control/remains.py",
        "        if not allocation.writes:\n            pool.forget(allocation)\n",
        "        pool.forget(allocation)\n        if allocation.writes:\n            pool._waiting.append(allocation)\n"
        "        else:\n",
    ),
    Planted(
        "cycles of waits are not broken",
        "pie_core/control/memory.py",
        "            self._break_cycle()\n",
        "            pass\n",
    ),
    Planted(
        "a cycle is seen where somebody does not wait",
        "pie_core/control/memory.py",
        "if (holders or left) and set(holders) <= set(waiting):",
        "if (holders or left) and waiting:",
    ),
    Planted(
        "a cycle is not seen where all that is wanted was freed",
        "pie_core/control/space.py",
        "        return self.bound(kind) > 0 or any(\n",
        "        return self.bound(kind) > 0 or False and any(\n",
    ),
    Planted(
        "what an ended inferlet left to run keeps its pages",
        "pie_core/control/memory.py",
        "            left = self._remains.occupying(kind)\n",
        "            left = []\n",
    ),
    Planted(
        "what an ended inferlet left to run runs, though nobody wants it any more",
        "pie_core/control/memory.py",
        "        self.drop(self._exports.withdraw(user, name).pages)\n",
        "        self._let_go(self._exports.withdraw(user, name).pages)\n        self.grant()\n",
    ),
    Planted(
        "the oldest inferlet ends for a cycle",
        "pie_core/control/contention.py",
        "        return waiting[-1]\n",
        "        return waiting[0]\n",
    ),
    Planted(
        "what depends on a failure in a wave before runs",
        "pie_core/control/scheduler.py",
        "wave.chained = bool(self.in_flight)",
        "wave.chained = False",
    ),
    Planted(
        "the last wave is taken for the one that is done",
        "pie_core/control/scheduler.py",
        "        wave = self.in_flight.popleft()\n",
        "        wave = self.in_flight.pop()\n",
    ),
    Planted(
        "an eager policy is not asked within the call",
        "pie_core/control/scheduler.py",
        "            if self._policy.immediate:\n                self.consider()\n",
        "",
    ),
    Planted(
        "a policy is not asked again when it wants to be",
        "pie_core/control/scheduler.py",
        "        self._looks.at(due, now)\n",
        "",
    ),
    Planted(
        "what waits for a command that runs in steps goes on when that begins",
        "pie_core/control/batching.py",
        "                submission.running = True\n                continue\n",
        "                submission.running = True\n",
    ),
    Planted(
        "a command that runs in steps is done when it has begun",
        "pie_core/control/completion.py",
        "            elif not batch.kind.stepwise:",
        "            elif True:",
    ),
    Planted(
        "what runs in steps is not stopped with its inferlet",
        "pie_core/control/completion.py",
        "            submission.stopped = True\n",
        "            pass\n",
    ),
    Planted(
        "what runs in steps is stopped with its inferlet, though others want it",
        "pie_core/control/remains.py",
        "            if submission not in kept and ended is not None:\n",
        "            if (submission.running or submission not in kept) and ended is not None:\n",
    ),
    Planted(
        "what runs in steps runs on, though nobody wants it any more",
        "pie_core/control/remains.py",
        "            if space.unfinished() or space.swapped",
        "            if any(not one.begun for one in space.unfinished()) or space.swapped",
    ),
    Planted(
        "what runs in steps is settled when it is to stop",
        "pie_core/control/completion.py",
        "            submission.stopped = True\n",
        "            submission.stopped = True\n            self._memory.settle(submission)\n",
    ),
    Planted(
        "what runs in steps is dropped like what waits",
        "pie_core/control/completion.py",
        "        if submission.running:\n",
        "        if False:\n",
    ),
    Planted(
        "what was stopped goes on",
        "pie_core/inference/stepping.py",
        "if stopped := [entry for entry in entries if entry.stopped]:",
        "if stopped := []:",
    ),
    Planted(
        "those that run in steps are forgotten when others join",
        "pie_core/inference/stepping.py",
        "            self._running.setdefault(entry.command.batch_kind(), []).append(entry)\n",
        "            self._running[entry.command.batch_kind()] = [entry]\n",
    ),
    Planted(
        "one that has ended is part of the next step",
        "pie_core/inference/stepping.py",
        "left = [entry for entry in self._running[kind] if id(entry) not in gone]",
        "left = list(self._running[kind])",
    ),
    Planted(
        "what has ridden in a wave takes another step behind it",
        "pie_core/inference/stepping.py",
        "            self._further |= {id(entry) for entry in going}\n",
        "",
    ),
    Planted(
        "who has ridden is not told",
        "pie_core/inference/stepping.py",
        "            self._rides[kind].done([entry.command for entry in going])\n",
        "",
    ),
    Planted(
        "those that are skipped begin all the same",
        "pie_core/inference/device.py",
        "        entries = [batch.entries[place] for place in places]\n",
        "        entries = batch.entries if batch.kind.stepwise else [batch.entries[place] for place in places]\n",
    ),
    Planted(
        "what ran in steps is not concluded when it failed",
        "pie_core/control/completion.py",
        "            submission.command.conclude(result)\n",
        "            if result is not None: submission.command.conclude(result)\n",
    ),
    Planted(
        "what ran in steps is concluded twice",
        "pie_core/control/completion.py",
        "            submission.command.conclude(result)\n",
        "            submission.command.conclude(result)\n            submission.command.conclude(result)\n",
    ),
    Planted(
        "a failure at a step poisons nothing",
        "pie_core/control/completion.py",
        "        self._poison.spread(submission)\n",
        "        if not submission.running: self._poison.spread(submission)\n",
    ),
    Planted(
        "what ran in steps heals no poison",
        "pie_core/control/completion.py",
        "            self._poison.heal(submission)\n        for successor",
        "            pass\n        for successor",
    ),
    Planted(
        "what runs in steps does not count as running",
        "pie_core/control/scheduler.py",
        "(self.backlog or self._host_work or self._completion.running)",
        "(self.backlog or self._host_work)",
    ),
    Planted(
        "what ran in steps counts as running for ever",
        "pie_core/control/completion.py",
        "            self.running -= submission.running\n",
        "",
    ),
    Planted(
        "reserved slots are free",
        "pie_core/resource.py",
        "(self.used | self.reserved).bit_count()",
        "self.used.bit_count()",
    ),
    Planted(
        "reserved slots are given out again",
        "pie_core/resource.py",
        "        taken = self.used | self.reserved\n",
        "        taken = self.used\n",
    ),
    Planted(
        "reserved slots stay reserved",
        "pie_core/resource.py",
        "        self.reserved &= ~_bits(offsets)\n",
        "",
    ),
    Planted(
        "all that was reserved counts as filled",
        "pie_core/resource.py",
        "_bits(offsets[:filled])",
        "_bits(offsets)",
    ),
    Planted(
        "an inferlet with a command that runs in steps is moved",
        "pie_core/control/swapping.py",
        "any(one.launched or not one.blockers for",
        "any(one.launched or not (one.running or one.blockers) for",
    ),
]


def find(bug: Planted, directory: Path, seeds: int) -> tuple[int, str] | None:
    """The first seed that finds a bug planted in a copy under `directory`, and what it says. Raises if it cannot be."""
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    plant(bug, directory)
    roots = [directory, directory / "plugins/traits_text/src"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, roots)), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "pie_core.testing.simulation", "--seeds", str(seeds), "--no-shrink"],
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=3600,
    )
    found = re.search(r"^seed (\d+): (.*)", run.stdout, re.MULTILINE)
    if run.returncode not in (0, 1) or (run.returncode == 1) != bool(found):
        raise RuntimeError(f"{bug.name}: the simulation itself failed:\n{run.stdout}\n{run.stderr}")
    return (int(found[1]), found[2]) if found else None


def plant(bug: Planted, directory: Path) -> None:
    """Change the copy. Raises if the text is not there exactly once."""
    path = directory / bug.file
    text = path.read_text("utf-8")
    if text.count(bug.old) != 1:
        raise RuntimeError(f"{bug.name}: its text is {text.count(bug.old)} times in {bug.file}; bring it up to date")
    path.write_text(text.replace(bug.old, bug.new), "utf-8")


def hunt(bugs: list[Planted], seeds: int) -> Iterator[tuple[Planted, tuple[int, str] | None]]:
    """Plant one after the other."""
    import tempfile

    for bug in bugs:
        with tempfile.TemporaryDirectory() as directory:
            yield bug, find(bug, Path(directory), seeds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of names; all without")
    parser.add_argument("--seeds", type=int, default=1000)
    given = parser.parse_args()
    chosen = [bug for bug in BUGS if not given.names or any(part in bug.name for part in given.names)]
    missed = 0
    for bug, found in hunt(chosen, given.seeds):
        missed += found is None
        print(f"| {bug.name} | {'not found' if found is None else f'{found[0]} | {found[1]:.110}'} |", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} found within {given.seeds} seeds")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
