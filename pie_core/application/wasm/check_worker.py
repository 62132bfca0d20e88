"""The process that reads sources and manifests for a server, one after the other, until the server hangs up.

Python's parser can be made to take ten milliseconds and half a megabyte for each KiB of source, and it is C code that
was never meant for strangers, so it does not run in the server. Started by `check.py` only.

    python -m pie_core.application.wasm.check_worker SOCKET CPU_SECONDS MEMORY_BYTES NICENESS

SOCKET is a descriptor of a `multiprocessing.Connection`: a `Question` comes, an `Answer` goes, both in msgpack. A
question that takes more than CPU_SECONDS ends the process by SIGPROF; it ends by itself, with status 0, after some
megabytes of them.
"""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.connection import Connection

import msgspec

from pie_core.application.manifest import Manifest, parse_manifest
from pie_core.application.program import Program
from pie_core.application.wasm.child import limit_memory
from pie_core.errors import ProgramError

_MOST_BYTES = 4 << 20  # of questions; then a new process takes over, which has not grown


class Question(msgspec.Struct, frozen=True, array_like=True):
    """Is this a program? What does it say of itself, and which of the `known` calls does it use?"""

    text: str  # source; or the TOML of a component, which has no source
    where: str  # the file, for error messages
    is_source: bool
    known: frozenset[str]


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """`refusal`: why not, in the words of `ProgramError`."""

    refusal: str | None = None
    manifest: Manifest = Manifest()
    calls: frozenset[str] = frozenset()


def main(arguments: list[str]) -> int:
    """Answer until the other end is closed; the exit status."""
    socket, cpu_s, memory_bytes, niceness = map(int, arguments)
    os.nice(niceness)
    limit_memory(memory_bytes)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    connection = Connection(socket)
    read, write = msgspec.msgpack.Decoder(Question), msgspec.msgpack.Encoder()
    answered = 0  # bytes
    while answered < _MOST_BYTES:
        try:
            question = connection.recv_bytes()
        except EOFError:
            return 0
        signal.setitimer(signal.ITIMER_PROF, cpu_s)  # nobody handles its signal: the system ends the process
        answer = write.encode(answer_to(read.decode(question)))
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send_bytes(answer)
        answered += len(question)
    return 0


def answer_to(question: Question) -> Answer:
    """Check a program as far as that is possible without running it."""
    try:
        if not question.is_source:
            return Answer(manifest=parse_manifest(question.text, question.where))
        program = Program("", question.text, question.where)
        program.compile()
        return Answer(manifest=program.manifest, calls=frozenset(program.calls(question.known)))
    except ProgramError as error:
        return Answer(str(error))
    except (MemoryError, RecursionError) as error:
        return Answer(f"{question.where} is too large or too deeply nested to be read: {type(error).__name__}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
