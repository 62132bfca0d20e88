"""A child process that compiles a grammar before the server does: what brings a compiler down, brings down this one.

llguidance recurses through the rules of a grammar, and a deep enough one overflows the stack, which ends the process.
Here the stack is an eighth of what the server's threads have, memory is limited, and `Admission` waits no longer than
it wants to. Run as a module: a line of JSON in, [syntax, grammar]; a line out, [name of an error or "", its text].
"""

from __future__ import annotations

import json
import resource
import sys
import threading

from pie_core import ArgumentError, PieError, ResourceError
from pie_traits_grammar.compiling import compile_grammar, make_tokenizer

STACK_BYTES = 1 << 20
MEMORY_BYTES = 2 << 30  # of address space
STEPS = 16  # to follow it, for what shows only then


def verdict(tokenizer: object, syntax: str, grammar: str) -> tuple[str, str]:
    """The name of the error that a grammar gives, and its text; twice nothing if it can be used."""
    try:
        matcher = compile_grammar(tokenizer, syntax, grammar)
        for _ in range(STEPS):
            mask = int.from_bytes(matcher.compute_bitmask(), "little")
            if matcher.is_error() or not mask or not matcher.consume_token((mask & -mask).bit_length() - 1):
                break
    except PieError as error:
        return type(error).__name__, str(error)
    except BaseException as error:  # a panic of llguidance's is no Exception
        return ResourceError.__name__, f"set_grammar: the {syntax} cannot be compiled: {error!r:.200}"
    return "", ""


def serve() -> None:
    """Answer until the server hangs up."""
    end = 256
    tokenizer = make_tokenizer([*(bytes([byte]) for byte in range(256)), b""], [end], [end])
    for line in sys.stdin:
        sys.stdout.write(json.dumps(verdict(tokenizer, *json.loads(line))) + "\n")
        sys.stdout.flush()


ERRORS: dict[str, type[PieError]] = {kind.__name__: kind for kind in (ArgumentError, ResourceError)}

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
