"""Which grammars the server compiles: those that a child process has compiled before, in time and within its memory."""

from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable

from pie_core import ResourceError
from pie_traits_grammar.checker import ERRORS

PATIENCE_S = 10.0  # of the wall, for one grammar, the start of the child included
REMEMBERED = 1024  # grammars
_INHERITED = ("PYTHON", "LD_", "DYLD_", "LANG", "LC_", "PATH", "VIRTUAL_ENV")  # a child needs no secrets of ours


class Admission:
    """Asks the child, once for each grammar. Threads wait for each other; each for `PATIENCE_S` at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], object] = lambda: None
        self._verdicts: OrderedDict[bytes, tuple[str, str]] = OrderedDict()

    def close(self) -> None:
        """End the child; a later question would start another."""
        with self._lock:
            self._end()
            self._child = None

    def check(self, syntax: str, grammar: str) -> None:
        """Raise what is wrong with a grammar."""
        key = hashlib.blake2b(f"{syntax} {grammar}".encode()).digest()
        with self._lock:
            found = self._verdicts.get(key)
            if found is None:
                found = self._verdicts[key] = self._ask(syntax, grammar)
                if len(self._verdicts) > REMEMBERED:
                    self._verdicts.popitem(last=False)
            self._verdicts.move_to_end(key)
        kind, text = found
        if kind:
            raise ERRORS[kind](text)

    def _ask(self, syntax: str, grammar: str) -> tuple[str, str]:
        child = self._child or self._start()
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(json.dumps([syntax, grammar]).encode() + b"\n")
            child.stdin.flush()
            answered = select.select([child.stdout], [], [], PATIENCE_S)[0]
            line = child.stdout.readline() if answered else b""
        except OSError:
            line, answered = b"", [child.stdout]
        if line:
            kind, text = json.loads(line)
            return kind, text
        self._end()
        self._child = None
        why = "brings llguidance down" if answered else f"takes over {PATIENCE_S:g} s to compile"
        raise ResourceError(f"set_grammar: the {syntax} {why}; nest its rules less deeply, or make it smaller")

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if name.startswith(_INHERITED)}
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "pie_traits_grammar.checker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        self._child = child
        self._end = weakref.finalize(self, _end, child)
        return child


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.communicate()
