"""Merging the core modules of a component: wasmtime runs what comes out as it runs what went in."""

import pytest
import wasmtime
from structlog.testing import capture_logs
from wasmtime import component as wc

from pie_core.application.wasm.interpreter import merge_modules
from pie_core.application.wasm.merging.binary import NotMergeableError, signed_leb
from pie_core.application.wasm.merging.component import read_component
from pie_core.application.wasm.merging.merge import merge
from pie_core.application.wasm.merging.module import Kind, read_module

# Two libraries that call each other, linked as componentize-py links: `$env` has memory, table, the addresses of all,
# and a way to call what is defined later; `$init` fills the table; `$shim` stands for an import until memory is there.
LINKED = """
(component
  (import "host" (instance $host
    (export "twice" (func (param "x" u32) (result u32)))
    (export "length" (func (param "text" string) (result u32)))))
  (core module $shim
    (table (export "$imports") 1 1 funcref)
    (func (export "0") (param i32 i32) (result i32)
      local.get 0 local.get 1 i32.const 0 call_indirect (param i32 i32) (result i32)))
  (core module $fill
    (import "" "$imports" (table 1 1 funcref))
    (import "" "0" (func $length (param i32 i32) (result i32)))
    (elem (i32.const 0) func $length))
  (core module $env
    (type $binary (func (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (table (export "table") 8 funcref)
    (global (export "stack") (mut i32) (i32.const 4096))
    (global (export "a:table_base") i32 (i32.const 1))
    (global (export "b:table_base") i32 (i32.const 2))
    (global (export "a:text") (mut i32) (i32.const 16))
    (global (export "a:power") (mut i32) (i32.const -1))
    (func (export "b:power") (type $binary)
      local.get 0 local.get 1 i32.const 4 call_indirect (type $binary))
    (func (export "b:other") (param i32) (result i32)
      local.get 0 i32.const 0 i32.const 4 call_indirect (type $binary))
    (func (export "b:swapped") (type $binary)
      local.get 1 local.get 0 i32.const 4 call_indirect (type $binary))
    (func (export "b:wrong") (type $binary)
      local.get 0 local.get 1 i32.const 2 call_indirect (type $binary))
    (data (i32.const 16) "some text")
    (data (i32.const 100) "\\2a"))
  (core module $a
    (import "env" "memory" (memory 1))
    (import "env" "table" (table 1 funcref))
    (import "env" "stack" (global $stack (mut i32)))
    (import "env" "table_base" (global $table_base i32))
    (import "env" "power" (func $power (param i32 i32) (result i32)))
    (import "env" "other" (func $other (param i32) (result i32)))
    (import "env" "swapped" (func $swapped (param i32 i32) (result i32)))
    (import "env" "wrong" (func $wrong (param i32 i32) (result i32)))
    (import "host" "twice" (func $twice (param i32) (result i32)))
    (import "host" "length" (func $length (param i32 i32) (result i32)))
    (import "GOT" "text" (global $text (mut i32)))
    (import "GOT" "power" (global $power_at (mut i32)))
    (global $half f64 (f64.const 0.5))
    (global $calls (mut i64) (i64.const 0))
    (elem (global.get $table_base) func $add $unused)
    (func $unused (result i32) i32.const 7)
    (func $never_called unreachable)
    (func $add (export "add") (param i32 i32) (result i32)
      (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
      (i32.add (local.get 0) (local.get 1)))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.set $stack (i32.sub (global.get $stack) (local.get 3)))
      (global.get $stack))
    (func (export "run") (param $n i32) (result i32)
      (local $found i32)
      (local.set $found (call $power (local.get $n) (i32.const 3)))
      (local.set $found (call $add (local.get $found) (call $swapped (i32.const 2) (local.get $n))))
      (if (i32.eq (local.get $n) (i32.const 6)) (then (drop (call $wrong (i32.const 1) (i32.const 1)))))
      (call_indirect (i32.const 6))
      (block $two (block $one (block $none
        (br_table $none $one $two (local.get $n)))
        (local.set $found (i32.add (local.get $found) (i32.const 10000))))
        (local.set $found (i32.add (local.get $found) (i32.const 20000))))
      (local.set $found (call $add (local.get $found) (call $other (local.get $n))))
      (local.set $found (call $add (local.get $found) (call $twice (i32.const 1000))))
      (local.set $found (call $add (local.get $found) (call $length (global.get $text) (i32.const 9))))
      (local.set $found (i32.add (local.get $found) (i32.load8_u offset=100 (i32.const 0))))
      (local.set $found (i32.add (local.get $found) (i32.load8_u offset=300 (i32.const 0))))
      (local.set $found (i32.add (local.get $found) (call_indirect (result i32) (i32.const 2))))
      (if (i32.ne (global.get $power_at) (i32.const -1)) (then unreachable))
      (i32.add (local.get $found) (i32.trunc_sat_f64_s (f64.mul
        (f64.convert_i64_s (global.get $calls)) (global.get $half))))))
  (core module $b
    (import "env" "memory" (memory 1))
    (import "env" "table" (table 1 funcref))
    (import "env" "table_base" (global $table_base i32))
    (import "env" "add" (func $add (param i32 i32) (result i32)))
    (elem (offset (i32.add (global.get $table_base) (i32.const 1))) func $first $power)
    (func $not_needed (param f32 f64) (result i64) i64.const 0)
    (func $first (export "first")
      (i32.const 300)
      (i32.load8_u (i32.const 300))
      (if (param i32) (result i32) (i32.eqz (memory.size))
        (then)
        (else i32.const 1 i32.add))
      i32.store8)
    (func $power (export "power") (param $base i32) (param $times i32) (result i32)
      (local $found i32)
      (local.set $found (i32.const 1))
      (block $done (loop $again
        (br_if $done (i32.eqz (local.get $times)))
        (local.set $found (i32.mul (local.get $found) (local.get $base)))
        (local.set $times (call $add (local.get $times) (i32.const -1)))
        (br $again)))
      (memory.fill (i32.const 200) (i32.const 0) (i32.const 8))
      (memory.copy (i32.const 200) (i32.const 100) (i32.const 4))
      (i32.sub (i32.add (local.get $found) (i32.load8_u (i32.const 200))) (i32.load8_u (i32.const 100)))))
  (core module $init
    (import "env" "memory" (memory 1))
    (import "env" "table" (table 1 funcref))
    (import "b" "first" (func $first))
    (elem (table 0) (i32.const 6) func $first))

  (core instance $shim (instantiate $shim))
  (core instance $env (instantiate $env))
  (alias export $host "twice" (func $twice))
  (core func $twice (canon lower (func $twice)))
  (core instance $for_a (export "memory" (memory $env "memory")) (export "table" (table $env "table"))
    (export "stack" (global $env "stack")) (export "table_base" (global $env "a:table_base"))
    (export "power" (func $env "b:power")) (export "other" (func $env "b:other"))
    (export "swapped" (func $env "b:swapped")) (export "wrong" (func $env "b:wrong")))
  (core instance $host_of_a (export "twice" (func $twice)) (export "length" (func $shim "0")))
  (core instance $got_of_a (export "text" (global $env "a:text")) (export "power" (global $env "a:power")))
  (core instance $a (instantiate $a
    (with "env" (instance $for_a)) (with "host" (instance $host_of_a)) (with "GOT" (instance $got_of_a))))
  (core instance $for_b (export "memory" (memory $env "memory")) (export "table" (table $env "table"))
    (export "table_base" (global $env "b:table_base")) (export "add" (func $a "add")))
  (core instance $b (instantiate $b (with "env" (instance $for_b))))
  (alias export $host "length" (func $length))
  (core func $length (canon lower (func $length)
    (memory (core memory $env "memory")) (realloc (core func $a "realloc"))))
  (core instance $filling (export "$imports" (table $shim "$imports")) (export "0" (func $length)))
  (core instance (instantiate $fill (with "" (instance $filling))))
  (core instance (instantiate $init (with "env" (instance $env)) (with "b" (instance $b))))
  (func (export "run") (param "n" u32) (result u32) (canon lift (core func $a "run"))))
"""


def built(text):
    return bytes(wasmtime.wat2wasm(text))


def answer(wasm, number):
    """What `run` returns, by wasmtime."""
    engine = wasmtime.Engine()
    component, store, linker = wc.Component(engine, wasm), wasmtime.Store(engine), wc.Linker(engine)
    with linker.root() as root, root.add_instance("host") as host:
        host.add_func("twice", lambda _, x: 2 * x)
        host.add_func("length", lambda _, text: len(text))
    instance = linker.instantiate(store, component)
    run = instance.get_func(store, "run")
    return run(store, number)


def modules(wasm):
    return [read_module(module) for module in read_component(wasm).modules]


@pytest.mark.parametrize(("number", "more"), [(0, 30000), (1, 20000), (5, 0)])
def test_a_merged_component_does_what_it_did(number, more):
    wasm, half_of_the_calls_of_add = built(LINKED), 4
    expected = number**3 + number**2 + 1 + more + 1 + 2000 + 9 + 42 + 7 + half_of_the_calls_of_add
    assert (answer(wasm, number), answer(merge(wasm), number)) == (expected, expected)


def test_a_call_of_the_wrong_type_through_the_table_still_traps():
    wasm = built(LINKED)
    for each in (wasm, merge(wasm)):
        with pytest.raises(wasmtime.WasmtimeError, match="indirect call type mismatch"):
            answer(each, 6)


def test_what_shares_a_memory_is_one_module_without_what_it_does_not_need():
    merged = modules(merge(built(LINKED)))
    assert [len(module.memories) for module in merged] == [1, 0, 0]
    only = merged[0]
    assert len(only.imports[Kind.FUNCTION]) == 2 and not any(only.imports[kind] for kind in Kind if kind)
    assert sorted(kind for kind, _ in only.exports.values()) == [Kind.FUNCTION, Kind.FUNCTION, Kind.MEMORY]
    # `$never_called` and the function that only jumps to `power` are gone; others like it pass on something else
    kept = "other", "swapped", "wrong", "add", "unused", "realloc", "run", "first", "power"
    assert len(only.functions) == len(kept)
    assert [each.type for each in only.globals] == [b"\x7f\x01", b"\x7c\x00", b"\x7e\x01"], "others are constants"


def test_merging_again_changes_nothing_but_names():
    merged = merge(built(LINKED))
    again = merge(merged)
    assert answer(again, 3) == answer(merged, 3)
    assert [len(module.functions) for module in modules(again)] == [len(module.functions) for module in modules(merged)]


@pytest.mark.parametrize(
    ("was", "instead", "reason"),
    [
        ("(func $unused", "(start $never_called) (func $unused", "a section 8"),
        ("(func $unused", "(elem func $add) (func $unused", "an element segment of kind 1"),
        ("(local.set $found (i32.const 1))", "(table.set (i32.const 0) (ref.null func))", "the instruction 26"),
        ("(local.set $found (i32.const 1))", "(drop (v128.const i64x2 0 0))", "the instruction fd"),
        (
            "(core instance $b (",
            '(core instance (instantiate $b (with "env" (instance $for_b))))(core instance $b (',
            "several",
        ),
        ("(func $unused", "(memory 1) (func $unused", "memories"),
    ],
)
def test_what_merging_does_not_know_is_refused(was, instead, reason):
    assert LINKED.count(was) == 1
    with pytest.raises(NotMergeableError, match=reason):
        merge(built(LINKED.replace(was, instead)))


def test_what_cannot_be_merged_stays_as_it_was_made_and_the_log_says_so(tmp_path):
    wasm, path = built(LINKED.replace("(func $unused", "(start $never_called) (func $unused")), tmp_path / "a.wasm"
    path.write_bytes(wasm)
    with capture_logs() as logged:
        merge_modules(path)
    assert path.read_bytes() == wasm
    assert [each["event"] for each in logged] == ["component.not_merged"] and "a section 8" in logged[0]["reason"]


@pytest.mark.parametrize("number", [0, 1, 63, 64, -1, -64, -65, 8191, 8192, -(1 << 31), (1 << 31) - 1])
def test_numbers_are_written_as_wasmtime_reads_them(number):
    module = b"\0asm\1\0\0\0" + bytes.fromhex("01050160 00017f 03020100 07050101 660000".replace(" ", ""))
    body = b"\0\x41" + signed_leb(number) + b"\x0b"
    module += bytes([10, len(body) + 2, 1, len(body)]) + body
    store = wasmtime.Store()
    instance = wasmtime.Instance(store, wasmtime.Module(store.engine, module), [])
    assert instance.exports(store)["f"](store) == number
