"""Inferlets over a rig that generate: each step allocates what it needs, runs, and feeds the answer back."""

from collections.abc import Callable, Generator

from pie_core import PieError
from pie_core.control.ticket import Ticket
from pie_core.testing.rig import Program, Rig

Script = Generator[Ticket | float, object, list[int]]


class Running:
    """Drives one script: a ticket that it yields resumes it when done, a number of seconds when they have passed."""

    def __init__(self, rig: Rig, program: Program, script: Script) -> None:
        self.result: list[int] | None = None
        self.error: PieError | None = None
        self.name = program.space.owner
        self._rig = rig
        self._space = program.space
        self._script = script
        rig.loop.soon(lambda: self._go(lambda: next(script)))

    def _go(self, resume: Callable[[], Ticket | float]) -> None:
        try:
            awaited = resume()
        except StopIteration as stop:
            self.result = stop.value
            self._rig.layer.close(self._space)
        except PieError as error:
            self.error = error
            self._rig.layer.close(self._space)
        else:
            if isinstance(awaited, Ticket):
                awaited.watch(lambda done: self._rig.loop.soon(lambda: self._go(lambda: self._resume(done))))
            else:
                self._rig.loop.later(awaited, lambda: self._go(lambda: self._script.send(None)))

    def _resume(self, done: Ticket) -> Ticket | float:
        if done.error is not None:
            return self._script.throw(done.error)
        return self._script.send(done.value)


def growing(program: Program, prompt: list[int], steps: int, sleep_at: int | None = None) -> Script:
    """Generate `steps` tokens greedily, a page more whenever the last is full; perhaps sleep a second before one."""
    size = program.space.model.kvpage_size
    pages: list[int] = []
    out = program.call("alloc_emb", 1)
    tokens: list[int] = []
    fresh, at = prompt, 0
    for step in range(steps):
        if step == sleep_at:
            yield 1.0
        lacking = -(-(at + len(fresh)) // size) - len(pages)
        if lacking > 0:
            pages += program.call("alloc_kvpage", lacking)
        embeds = program.prompt(fresh, first=at)
        program.call("forward", pages, embeds, pages, out)
        program.call("dealloc_emb", embeds)
        dist = yield program.call("get_next_dist", out, 1)
        at += len(fresh)
        fresh = [dist.ids[0]]
        tokens += fresh
    return tokens


def all_at_once(program: Program, prompt: list[int], steps: int) -> Script:
    """The same tokens, with all pages allocated before the start."""
    size = program.space.model.kvpage_size
    pages = program.call("alloc_kvpage", -(-(len(prompt) + steps) // size))
    out, embeds = program.call("alloc_emb", 1), program.prompt(prompt)
    program.call("forward", [], embeds, pages, out)
    program.call("dealloc_emb", embeds)
    tokens: list[int] = []
    for position in range(len(prompt), len(prompt) + steps):
        dist = yield program.call("get_next_dist", out, 1)
        tokens.append(dist.ids[0])
        program.call("embed_txt", tokens[-1:], [position], out)
        program.call("forward", pages, out, pages, out)
    return tokens


def run_all(rig: Rig, scripts: list[Callable[[Program], Script]], seconds: float = 60.0) -> list[Running]:
    """Start them all at once, in order, and let `seconds` of virtual time pass."""
    running = []
    for place, script in enumerate(scripts):
        program = rig.open(f"p{place}")
        running.append(Running(rig, program, script(program)))
    rig.loop.advance(seconds)
    return running
