"""Checks sources and manifests in processes of their own, so that no stranger's text meets a parser of the server.

There are two, so that small programs do not wait behind large ones; both are kept ready, because a launch takes
milliseconds and starting Python some 300 ms.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
from collections import OrderedDict
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe

import msgspec

from pie_core.application.component import MANIFEST, read_section
from pie_core.application.program import Program
from pie_core.application.wasm import check_worker
from pie_core.application.wasm.check_worker import Answer, Question
from pie_core.application.wasm.child import NICENESS, child_command, child_environment
from pie_core.errors import ProgramError

_REMEMBERED = 1024  # answers
_REMEMBERED_BYTES = 16 << 10  # of the largest answer that is remembered
_MANIFEST_BYTES = 64 << 10  # of a component; that of a source is within its limit
_LAST_CHANCE_S = 5.0  # for a child that has hung up to be gone


class CheckLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What checking one program may use.

    Measured on hostile sources (CPython 3.11): 16 KiB take up to 75 ms (4.6 ms for each KiB: lambdas), too long for
    an event loop at any size worth having. Beyond, some grow with the square of their size (the keywords of one call:
    2 ms for each KiB of 13, 6.5 of 55). Plain statements take 4 ms for each KiB, a second for 256 KiB.
    """

    small_bytes: int = 16 << 10  # a source up to this size is checked beside larger ones, not behind them
    small_cpu_s: int = 1
    large_cpu_s: int = 5
    wall_s: float = 30.0  # of either: the machine may be busy
    memory_bytes: int = 1 << 30  # address space of a checking process


class ProgramChecker:
    """`check` is for event loops; everything costly happens elsewhere."""

    def __init__(self, limits: CheckLimits | None = None) -> None:
        self.limits = limits = limits or CheckLimits()
        self._small = _Lane(limits.small_cpu_s, limits, 0)
        self._large = _Lane(limits.large_cpu_s, limits, NICENESS)
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()

    async def warm_up(self) -> None:
        """Start the process for small programs."""
        await self._small.ask(Question("async def main(): pass", "", True, frozenset()))

    async def check(self, program: Program, known: Set[str]) -> Answer:
        """What a program says of itself and which of the `known` calls its source uses. Raises `ProgramError`."""
        question = _question(program, frozenset(known))
        if question is None:
            return Answer()
        key = hashlib.blake2b(msgspec.msgpack.encode(question), digest_size=32).digest()
        answer = self._answers.get(key)
        if answer is None:
            size = len(question.text)
            lane = self._small if size <= self.limits.small_bytes else self._large
            answer = await lane.ask(question)
            self._remember(key, answer)
        if answer.refusal is not None:
            raise ProgramError(answer.refusal)
        return answer

    def close(self) -> None:
        """End the processes. Idempotent."""
        self._small.close()
        self._large.close()

    def _remember(self, key: bytes, answer: Answer) -> None:
        if len(msgspec.msgpack.encode(answer)) <= _REMEMBERED_BYTES:
            self._answers[key] = answer
            if len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)


def _question(program: Program, known: frozenset[str]) -> Question | None:
    """None: there is nothing to be read."""
    if program.wasm is None:
        return Question(program.source, program.filename, True, known)
    raw = read_section(program.wasm, MANIFEST, program.filename)
    if raw is None:
        return None
    where = f"{program.filename}: its section {MANIFEST!r}"
    if len(raw) > _MANIFEST_BYTES:
        raise ProgramError(f"{where} has {len(raw)} bytes; {_MANIFEST_BYTES} are allowed")
    return Question(raw.decode(errors="replace"), where, False, known)


class _Lane:
    """One process, and the thread that talks to it: one question at a time, in order."""

    def __init__(self, cpu_s: int, limits: CheckLimits, niceness: int) -> None:
        self._cpu_s = cpu_s
        self._limits = limits
        self._niceness = niceness
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pie-check")
        self._child: _Child | None = None
        self._closed = False

    async def ask(self, question: Question) -> Answer:
        """Raises `ProgramError` for a question that meets a limit."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, question)

    def close(self) -> None:
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._child is not None:
            self._child.kill()

    def _ask(self, question: Question) -> Answer:
        raw = msgspec.msgpack.encode(question)
        for _ in range(2):
            answer = self._ready().ask(raw, self._limits.wall_s)
            if answer is not None:
                return msgspec.msgpack.decode(answer, type=Answer)
            status = self._end()
            if status != 0:  # 0: it had answered enough, and left before it saw the question
                break
        raise ProgramError(f"{question.where}: {self._reason(status)}")

    def _ready(self) -> _Child:
        if self._child is not None and self._child.gone:  # killed by somebody while it was idle
            self._end()
        if self._child is None:
            self._child = _Child(self._cpu_s, self._limits.memory_bytes, self._niceness)
            if self._closed:  # meanwhile
                self._child.kill()
        return self._child

    def _end(self) -> int:
        """Take leave of the child that did not answer; its exit status."""
        assert self._child is not None
        child, self._child = self._child, None
        return child.end()

    def _reason(self, status: int) -> str:
        if status == -signal.SIGPROF:
            return f"checking it takes more than {self._cpu_s} s of processor time; make it smaller, or simpler"
        if status == -signal.SIGKILL:
            return f"checking it took longer than {self._limits.wall_s:g} s and was given up; try again later"
        return f"the parser crashed on it (status {status}); make it smaller, or simpler"


class _Child:
    """A running `check_worker`. For one thread, but for `kill`."""

    def __init__(self, cpu_s: int, memory_bytes: int, niceness: int) -> None:
        self._connection, theirs = Pipe()
        arguments = [theirs.fileno(), cpu_s, memory_bytes, niceness]
        self._process = subprocess.Popen(  # noqa: S603  # our own module and numbers
            child_command(check_worker.__name__, *map(str, arguments)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=child_environment(PYTHONWARNINGS="ignore"),  # warnings are for the author, who does not see them
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()

    @property
    def gone(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def ask(self, question: bytes, wall_s: float) -> bytes | None:
        """None: the child is gone; or it was killed, because it had not answered in time."""
        try:
            self._connection.send_bytes(question)
            if self._connection.poll(wall_s):
                return self._connection.recv_bytes()
            self.kill()
        except (EOFError, OSError):
            pass  # it has ended
        return None

    def end(self) -> int:
        """Wait until it is gone; its exit status."""
        self._connection.close()
        try:
            return self._process.wait(_LAST_CHANCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def kill(self) -> None:
        """End it now. Idempotent."""
        if not self.gone:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
