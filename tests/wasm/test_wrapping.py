"""Components around core modules."""

import pytest
import wasmtime
from wasmtime.component import Component

from pie_core.application.component import digest_of
from pie_core.application.program import Program
from pie_core.application.wasm.wrapping import wrap
from pie_core.errors import ProgramError
from tests.wasm.applications import play, run, run_and_read

OUTPUT = '(import "pie:core/runtime@1.0.0" "output" (func $output (param i32 i32 i32)))'
MEMORY = '(memory (export "memory") 1)'
REALLOC = '(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))'
RUN = '(func (export "run") (result i32) (i32.const 64))'


def module(*lines):
    return bytes(wasmtime.wat2wasm(f"(module {' '.join(lines)})"))


def program(wasm):
    return Program("m", "", "m.wasm", wasm)


def test_a_module_that_needs_nothing_becomes_a_component(tmp_path, traits):
    wasm = wrap(module(MEMORY, REALLOC, RUN), traits, "m.wasm")

    async def test(application):
        outcome = await run(application, program(wasm))
        assert (outcome.status, outcome.value) == ("finished", None)

    play(tmp_path, test)


def test_it_calls_what_it_imports_and_is_initialized_once_before(tmp_path, traits):
    wasm = wrap(
        module(
            OUTPUT,
            MEMORY,
            REALLOC,
            '(data (i32.const 128) "hey!") (global $length (mut i32) (i32.const 2))',
            '(func (export "_initialize") (global.set $length (i32.add (global.get $length) (i32.const 1))))',
            '(func (export "run") (result i32)',
            "(call $output (i32.const 128) (global.get $length) (i32.const 256)) (i32.const 64))",
            '(func (export "cabi_post_run") (param i32) (call $output (i32.const 131) (i32.const 1) (i32.const 256)))',
        ),
        traits,
        "m.wasm",
    )

    async def test(application):
        shown, ended = await run_and_read(application, program(wasm))
        assert shown == "hey" and ended.status == "failed"  # nothing may be called while results are freed

    play(tmp_path, test)


def test_every_declared_function_can_be_imported(tmp_path, traits):
    """The types made for imports are those that the server has."""
    from pie_core.application.wasm.c_header import _MOST_FLAT, _Header
    from pie_core.application.wasm.signature import check_imports
    from pie_core.application.wasm.wit import packages

    core = {"float": "f32", "double": "f64", "uint64_t": "i64", "int64_t": "i64"}
    lines, count = [], 0
    for package in packages(traits):
        for interface in package.interfaces:
            header = _Header()
            header.add(package, interface)
            for function in interface.functions if interface.name != "source" else ():
                flat = [c for name, kind in function.parameters for c, _ in header._flat(kind, name)]
                if len(flat) > _MOST_FLAT:
                    flat = ["char *"]  # they travel as one address
                kinds = [core.get(c, "i32") for c in flat] + ["i32"] * (function.returns is not None)
                lines.append(f'(import "{package.path(interface)}" "{function.name}" (func (param {" ".join(kinds)})))')
                count += 1
    wasm = wrap(module(*lines, MEMORY, REALLOC, RUN), traits, "m.wasm")
    engine = wasmtime.Engine(wasmtime.Config())
    found = check_imports(Component(engine, wasm).type.imports(engine), engine, traits)
    assert sum(len(each.functions) for each in found) == count > 40
    assert len(digest_of(wasm)) == 64


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([MEMORY, RUN], "m.wasm does not export cabi_realloc; a module must export run, memory, cabi_realloc"),
        (["(func)"], "does not export run, memory, cabi_realloc"),
        (['(import "env" "puts" (func))'], r"- env puts: a function that is declared but nowhere defined"),
        (['(import "wasi_snapshot_preview1" "fd_write" (func))'], "fd_write: a system call"),
        (['(import "pie:core/runtim@1.0.0" "output" (func))'], "no interface.*did you mean 'pie:core/runtime@1.0.0'"),
        (['(import "pie:core/runtime@2.0.0" "output" (func))'], "no interface of an installed trait"),
        (['(import "pie:core/runtime@1.0.0" "outputs" (func))'], "no such function.*did you mean 'output'"),
        (['(import "pie:core/runtime@1.0.0" "output" (global i32))'], "output: no such function"),
    ],
)
def test_a_module_that_cannot_be_a_program_is_told_all_that_is_wrong(traits, lines, says):
    more = [] if "func" in lines[0][:6] or len(lines) > 1 else [MEMORY, REALLOC, RUN]
    with pytest.raises(ProgramError, match=f"(?s){says}"):
        wrap(module(*lines, *more), traits, "m.wasm")


def test_what_is_no_module_is_an_error(traits):
    with pytest.raises(ProgramError, match=r"m.wasm is not a valid WebAssembly module"):
        wrap(b"\0asm\x01\0\0\0\xff", traits, "m.wasm")
