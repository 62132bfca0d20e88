"""Hostile components, and how each must end."""

from __future__ import annotations

from typing import Any

from tests.wasm.attack import Component
from tests.wasm.hostile_python import CPU, WALL, Attack

RUNTIME, TICKETS = "pie:core/runtime", "pie:core/tickets"
QUEUE = {RUNTIME: {"create-queue": "(param i32 i32 i32)"}}
ALLOC = {"pie:allocate/allocate": {"alloc-emb": "(param i32 i32 i32)"}}
EMBED = {"pie:input-text/input-text": {"embed-txt": f"(param {'i32 ' * 8})"}}
WAIT = {"wait": "(param i32 i32 i32)"}

MODEL = """
  (data (i32.const 100) "fake")
  (func $queue (result i32)
    (call $create-queue (i32.const 100) (i32.const 4) (i32.const 200)) (i32.load (i32.const 204)))
"""
OK = "(i32.const 0)"


def run(body: str, more: str = "", local: str = "") -> str:
    """The core of a component whose `run` does `body`; it answers what stands at 0."""
    return f'{more}(func (export "run") (result i32) {local} {body} {OK})'


def crashed(core: str, reason: str, **more: Any) -> Attack:
    return Attack(Component(core, **more), "failed", "program", reason)


def over(core: str, reason: str, limits: dict[str, Any] | None = None, **more: Any) -> Attack:
    return Attack(Component(core, **more), "terminated", "resource", reason, limits or {})


def finished(core: str, limits: dict[str, Any] | None = None, **more: Any) -> Attack:
    return Attack(Component(core, **more), "finished", None, "", limits or {})


def wasi(interface: str, items: str, **signatures: str) -> tuple[str, str, dict[str, str]]:
    names = {name.replace("__", "."): kind for name, kind in signatures.items()}
    return f"wasi:{interface}@0.2.6", items, {name.replace("_", "-"): kind for name, kind in names.items()}


POLLABLE = '(export "pollable" (type $pollable (sub resource)))'
POLL = (
    "wasi:io/poll@0.2.6",
    f'{POLLABLE} (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))',
    {"poll": "(param i32 i32 i32)"},
)
CLOCK = (
    "wasi:clocks/monotonic-clock@0.2.6",
    '(alias outer 1 $pollable (type $q)) (export "pollable" (type $p (eq $q))) '  # the one of POLL
    '(export "subscribe-duration" (func (param "when" u64) (result (own $p))))',
    {"subscribe-duration": "(param i64) (result i32)"},
)

COMPONENTS: dict[str, Attack] = {
    "a loop": over(run("(loop $l (br $l))"), "cpu_s", CPU),
    "a loop while it starts": over(
        run("", "(func $s (loop $l (br $l))) (start $s)"),
        "cpu_s",
        CPU,
    ),
    "a trap while it starts": crashed(run("", "(func $s unreachable) (start $s)"), "unreachable"),
    "a native recursion": over(run("(call $f)", "(func $f (call $f) (call $f))"), "nest too deeply"),
    "growing memory": finished(run("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))")),
    "a memory over the limit": over(run(""), "memory_bytes", {"memory_bytes": 1 << 20}, pages=1000),
    "many memories": over(run("", "".join(f"(memory $m{n} 16)" for n in range(64))), "65 memories"),
    "growing a table": finished(
        run(
            "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))",
            "(table $t 1 funcref)",
        )
    ),
    "a table over the limit": over(run("", "(table 100001 funcref)"), "table_elements"),
    "many tables": over(run("", "".join(f"(table $t{n} 90000 funcref)" for n in range(64))), "64 tables"),
    "dividing by nothing": crashed(run("(drop (i32.div_u (i32.const 1) (i32.const 0)))"), "divide by zero"),
    "reading past the end": crashed(run("(drop (i32.load (i32.const -8)))"), "memory fault"),
    "a string past the end": crashed(
        run("(call $create-queue (i32.const -100) (i32.const 90) (i32.const 200))"), "out of bounds", uses=QUEUE
    ),
    "a string that is no UTF-8": crashed(
        run("(call $create-queue (i32.const 100) (i32.const 2) (i32.const 200))", '(data (i32.const 100) "\\ff\\fe")'),
        "utf-8|UTF-8",
        uses=QUEUE,
    ),
    "a list past the end": crashed(
        run("(call $embed-txt (call $queue) " + "(i32.const 8) (i32.const -1) " * 3 + "(i32.const 200))", MODEL),
        "out of bounds|overflow|exhausted",
        uses={**QUEUE, **EMBED},
    ),
    "a giant list": over(
        run(
            "(drop (memory.grow (i32.const 1000))) (call $drop (i32.const 0) (i32.const 8000000))",
        ),
        "data",
        uses={TICKETS: {"drop": "(param i32 i32)"}},
    ),
    "a giant text": Attack(
        Component(
            run(
                "(drop (memory.grow (i32.const 800)))"
                "(memory.fill (i32.const 1000) (i32.const 65) (i32.const 50000000))"
                "(call $send (i32.const 1000) (i32.const 50000000) (i32.const 200))"
                "(if (i32.load8_u (i32.const 200)) (then (call $fail (i32.const 204))))"
            ),
            {RUNTIME: {"send": "(param i32 i32 i32)"}},
        ),
        "failed",
        "program",
        "over the limit",
    ),
    "an answer past the end": crashed('(func (export "run") (result i32) (i32.const -20))', "out of bounds|aligned"),
    "an answer that is none": crashed(run("(i32.store8 (i32.const 0) (i32.const 77))"), "discriminant"),
    "an answer past the end of memory": crashed(
        run(
            "(i32.store8 (i32.const 4) (i32.const 1)) (i32.store (i32.const 8) (i32.const 1))"
            "(i32.store (i32.const 12) (i32.const -1))"
        ),
        "out of bounds|exhausted",
    ),
    "an error of a giant text": Attack(
        Component(
            run(
                "(drop (memory.grow (i32.const 800)))"
                "(memory.fill (i32.const 1000) (i32.const 65) (i32.const 50000000))"
                "(i32.store8 (i32.const 0) (i32.const 1))"
                "(i32.store (i32.const 12) (i32.const 1000)) (i32.store (i32.const 16) (i32.const 50000000))"
            )
        ),
        "failed",
        "program",
        r"^A(?s:.{0,70000})$",
    ),
    "an unknown queue": Attack(
        Component(
            run(
                "(call $alloc-emb (i32.const 77) (i32.const 1) (i32.const 200)) (call $fail (i32.const 204))",
            ),
            ALLOC,
        ),
        "failed",
        "program",
        "77 is not a queue of this inferlet",
    ),
    "an unknown model": Attack(
        Component(
            run("(call $create-queue (i32.const 100) (i32.const 0) (i32.const 200)) (call $fail (i32.const 204))"),
            QUEUE,
        ),
        "failed",
        "program",
        "no model is named ''",
    ),
    "more Embeds than there can be": Attack(
        Component(
            run(
                "(call $alloc-emb (call $queue) (i32.const -1) (i32.const 200)) (call $fail (i32.const 204))",
                MODEL,
            ),
            {**QUEUE, **ALLOC},
        ),
        "failed",
        "program",
        "4294967295 embeds asked for",
    ),
    "sleeping for NaN seconds": Attack(
        Component(
            run("(call $sleep (f64.const nan) (i32.const 200)) (call $fail (i32.const 208))"),
            {RUNTIME: {"sleep": "(param f64 i32)"}},
        ),
        "failed",
        "program",
        "nan seconds cannot be slept",
    ),
    "waiting for one ticket many times": over(
        run(
            "(call $sleep (f64.const 1e300) (i32.const 200)) (drop (memory.grow (i32.const 20)))"
            "(local.set $n (i32.const 1000))"
            "(loop $l (i64.store (local.get $n) (i64.const 1))"
            "  (local.set $n (i32.add (local.get $n) (i32.const 8)))"
            "  (br_if $l (i32.lt_u (local.get $n) (i32.const 801000))))"
            "(call $wait (i32.const 1000) (i32.const 100000) (i32.const 200))",
            local="(local $n i32)",
        ),
        "0.4 s",
        WALL,
        uses={RUNTIME: {"sleep": "(param f64 i32)"}, TICKETS: WAIT},
    ),
    "waiting for a list of tickets that the server would have to keep": over(
        run(
            "(call $sleep (f64.const 1e300) (i32.const 200)) (drop (memory.grow (i32.const 200)))"
            "(local.set $n (i32.const 1000))"
            "(loop $l (i64.store (local.get $n) (i64.const 1))"
            "  (local.set $n (i32.add (local.get $n) (i32.const 8)))"
            "  (br_if $l (i32.lt_u (local.get $n) (i32.const 8001000))))"
            "(call $wait (i32.const 1000) (i32.const 1000000) (i32.const 200))",
            local="(local $n i32)",
        ),
        "1000000 tickets are more than the 131072",
        {},
        uses={RUNTIME: {"sleep": "(param f64 i32)"}, TICKETS: WAIT},
    ),
    "a text that would be copied again and again": Attack(
        Component(
            run(
                "(drop (memory.grow (i32.const 1600))) (call $send (i32.const 0) (i32.const 100000000) (i32.const 200))"
                "(if (i32.load8_u (i32.const 200)) (then (call $fail (i32.const 204))))"
            ),
            {RUNTIME: {"send": "(param i32 i32 i32)"}},
        ),
        "failed",
        "program",
        "a text of 100000000 bytes, over the limit of 67108864",
    ),
    "polling one moment many times": crashed(
        run(
            "(drop (memory.grow (i32.const 20))) (local.set $p (call $subscribe-duration (i64.const -1)))"
            "(loop $l (i32.store (i32.add (i32.const 1000) (local.get $n)) (local.get $p))"
            "  (local.set $n (i32.add (local.get $n) (i32.const 4)))"
            "  (br_if $l (i32.lt_u (local.get $n) (i32.const 400000))))"
            "(call $poll (i32.const 1000) (i32.const 100000) (i32.const 200))",
            local="(local $n i32) (local $p i32)",
        ),
        "store handle limit exceeded",
        raw=[POLL, CLOCK],
    ),
    "polling tickets without end": over(
        run(
            "(call $sleep (f64.const 0) (i32.const 200)) (loop $l (call $sleep (f64.const 0) (i32.const 200)) (br $l))"
        ),
        "cpu_s",
        {"cpu_s": 0.2},
        uses={RUNTIME: {"sleep": "(param f64 i32)"}},
    ),
    # WASI
    "leaving": Attack(
        Component(
            run("(call $exit (i32.const 1))"),
            raw=[wasi("cli/exit", '(export "exit" (func (param "status" (result))))', exit="(param i32)")],
        ),
        "failed",
        "program",
        "failure status",
    ),
    "leaving in peace": finished(
        run("(call $exit (i32.const 0)) unreachable"),
        raw=[wasi("cli/exit", '(export "exit" (func (param "status" (result))))', exit="(param i32)")],
    ),
    "a function of WASI that is not offered": crashed(
        run("(call $launch)"),
        r"wasi:cli/nuclear@0\.2\.6#launch, which is not offered",
        raw=[wasi("cli/nuclear", '(export "launch" (func))', launch="")],
    ),
    "10,000 pollables": over(
        run("(loop $l (drop (call $subscribe-duration (i64.const 1))) (br $l))"),
        "4096 WASI resources",
        raw=[POLL, CLOCK],
    ),
    "polling for nothing": crashed(
        run("(call $poll (i32.const 0) (i32.const 0) (i32.const 200))"), "nothing|empty", raw=[POLL]
    ),
    "polling for a moment that never comes": over(
        run(
            "(i32.store (i32.const 100) (call $subscribe-duration (i64.const -1)))"
            "(call $poll (i32.const 100) (i32.const 1) (i32.const 200))"
        ),
        "0.4 s",
        WALL,
        raw=[POLL, CLOCK],
    ),
    "polling what is always there": over(
        run(
            "(i32.store (i32.const 100) (call $subscribe-duration (i64.const 0)))"
            "(loop $l (call $poll (i32.const 100) (i32.const 1) (i32.const 200)) (br $l))"
        ),
        "cpu_s",
        {"cpu_s": 0.2},
        raw=[POLL, CLOCK],
    ),
    "a pollable that is none": crashed(
        run("(i32.store (i32.const 100) (i32.const 77)) (call $poll (i32.const 100) (i32.const 1) (i32.const 200))"),
        "handle",
        raw=[POLL],
    ),
    "too much randomness": over(
        run("(call $get-random-bytes (i64.const 1000000) (i32.const 200))"),
        "1000000 random bytes",
        raw=[
            wasi(
                "random/random",
                '(export "get-random-bytes" (func (param "len" u64) (result (list u8))))',
                get_random_bytes="(param i64 i32)",
            )
        ],
    ),
    "a function of WASI with an unknown type": crashed(
        run("(drop (call $get (i32.const 65)))"),
        "not offered",
        raw=[
            wasi(
                "cli/characters", '(export "get" (func (param "c" char) (result char)))', get="(param i32) (result i32)"
            )
        ],
    ),
}

BARE_TYPE = '(import "t" (type $t (eq $error)))'  # a name for a type: harmless

REFUSED: dict[str, tuple[Component | str, str, str]] = {  # name -> (component, code, reason): told at launch
    "a call with another signature": (
        """(import "pie:core/runtime@1.0.0" (instance
             (export "send" (func (param "msg" (list u8))))))""",
        "trait",
        "another signature",
    ),
    "a trait that is not there": ('(import "pie:acme/acme@1.0.0" (instance))', "trait", "trait acme is not installed"),
    "a version that is not there": ('(import "pie:forward/forward@9.0.0" (instance))', "trait", "9.0.0 is needed"),
    "a foreign interface": ('(import "evil:host/shell@1.0.0" (instance))', "trait", "unknown interface"),
    "a bare function": ('(import "run-me" (func))', "trait", "not an interface"),
    "a bare function of WASI": ('(import "wasi:cli/run-me@0.2.0" (func))', "trait", "not an interface"),
    "a bare resource": ('(import "t" (type $t (sub resource)))', "trait", "not an interface"),
    "a resource of nobody's": (
        '(import "wasi:cli/acme@0.2.0" (instance (export "bomb" (type (sub resource)))))',
        "trait",
        "resource",
    ),
    "clocks with characters": (
        '(import "wasi:clocks/monotonic-clock@0.2.0" (instance (export "now" (func (result char)))))',
        "trait",
        "now",
    ),
    "clocks of the wrong type": (
        '(import "wasi:clocks/monotonic-clock@0.2.0" (instance (export "now" (func (result string)))))',
        "trait",
        "now",
    ),
    "randomness of another type": (
        """(import "wasi:random/random@0.2.0" (instance
             (export "get-random-bytes" (func (param "len" s64) (result (list u8))))))""",
        "trait",
        "get-random-bytes",
    ),
    "a resource where a number belongs": (
        """(import "pie:core/runtime@1.0.0" (instance (export "r" (type $r (sub resource)))
             (export "send" (func (param "msg" (own $r))))))""",
        "trait",
        "signature|not a",
    ),
}
