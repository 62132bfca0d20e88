"""`pie-core build`: components out of modules, components and Python."""

import pytest
import wasmtime

from pie_core.application.component import MANIFEST, read_section, write_section
from pie_core.application.program import read_program
from tests.wasm.components import returns
from tests.wasm.stock_host import StockHost

MODULE = wasmtime.wat2wasm(
    '(module (memory (export "memory") 1)'
    ' (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)'
    ' (func (export "run") (result i32) (i32.const 64)))'
)
PROGRAM = "async def main():\n    print('built')\n    return 'done'\n"
TOML = 'description = "Hi."\n[flags.loud]\ndefault = false\n'


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "hi.toml"
    path.write_text(TOML)
    return path


def test_a_module_becomes_a_component_with_a_manifest_that_runs(pie_core, tmp_path, manifest):
    module, target = tmp_path / "module.wasm", tmp_path / "hi.wasm"
    module.write_bytes(MODULE)
    done = pie_core.run("build", module, "--manifest", manifest, "-o", target)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{target}\n", "")
    assert read_program(target).manifest.description == "Hi."
    ran = pie_core.run(
        *("run", "--backend", "fake", "--model", "fake", target, "--", "--loud"),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    native = pie_core.run("run", "--backend", "fake", "--model", "fake", "--native", target)
    assert native.returncode == 1 and "runs in the sandbox only" in native.stderr


def test_a_component_gets_another_manifest_and_keeps_the_rest(pie_core, tmp_path, manifest):
    source = tmp_path / "old.wasm"
    source.write_bytes(write_section(returns("hi"), MANIFEST, b"description = 'Old.'", "old.wasm"))
    done = pie_core.run("build", source, "--manifest", manifest, "--output", source)
    assert done.returncode == 0, done.stderr
    assert source.read_bytes() == write_section(returns("hi"), MANIFEST, TOML.encode(), "hi.wasm")


@pytest.mark.parametrize(
    ("wasm", "options", "says"),
    [
        (MODULE, [], "name a file to write with --output"),
        (MODULE, ["-o", "x.wasm", "--with", "tabulate"], "--with is for Python programs"),
        (b"\x7fELF", ["-o", "x.wasm"], "native code, not WebAssembly"),
        (returns("hi")[:-20], ["-o", "x.wasm"], "not valid"),
        (returns("hi", '(import "pie:none/none@1.0.0" (instance))'), ["-o", "x.wasm"], "trait none is not installed"),
        (wasmtime.wat2wasm("(component)"), ["-o", "x.wasm"], "exports no `run`"),
        (MODULE, ["-o", "/none/x.wasm"], "/none/x.wasm cannot be written"),
    ],
)
def test_what_cannot_be_built_is_one_clear_error(pie_core, tmp_path, wasm, options, says):
    source = tmp_path / "module.wasm"
    source.write_bytes(wasm)
    done = pie_core.run("build", source, *options)
    assert done.returncode in (1, 2) and says in done.stderr and "Traceback" not in done.stderr


def test_a_place_that_is_not_there_is_told_before_anything_is_built(pie_core, tmp_path):
    source = tmp_path / "my.py"
    source.write_text(PROGRAM)
    done = pie_core.run("build", source, "-o", "/none/x.wasm")
    assert (done.returncode, done.stderr) == (1, "Error: /none/x.wasm cannot be written: there is no directory /none\n")


def test_a_manifest_that_is_wrong_is_not_put_in(pie_core, tmp_path, manifest):
    source = tmp_path / "module.wasm"
    source.write_bytes(MODULE)
    manifest.write_text("describtion = 'Hi.'")
    done = pie_core.run("build", source, "--manifest", manifest, "-o", tmp_path / "x.wasm")
    assert done.returncode == 1 and "hi.toml is not right" in done.stderr
    assert not (tmp_path / "x.wasm").exists()


def test_python_becomes_a_component_that_imports_the_traits_of_its_manifest(pie_core, tmp_path):
    source, target = tmp_path / "my.py", tmp_path / "out.wasm"
    toml = f'traits = ["forward"]\n{TOML}'
    block = "".join(f"# {line}\n" for line in ["/// inferlet", *toml.splitlines(), "///"])
    source.write_text(f"{block}from inferlet import get_next_dist\n\n\n{PROGRAM}")
    ran = pie_core.run("build", source, "-o", target)
    assert (ran.returncode, ran.stdout) == (0, f"{target}\n") and "building" in ran.stderr
    assert read_section(target.read_bytes(), MANIFEST, "out.wasm") == toml.encode()
    built = StockHost(target)
    traits = {name for name in built.imports if name.startswith("pie:") and not name.startswith("pie:core/")}
    used = ("allocate", "forward", "output-text")  # built on, named, called
    assert traits == {f"pie:{name}/{name}@1.0.0" for name in used}
    run = built.run()
    assert (run.output, run.returned) == (["built\n"], "done")


def test_python_that_cannot_be_built_is_one_message(pie_core, tmp_path):
    source = tmp_path / "my.py"
    source.write_text(PROGRAM)
    assert "does not exist" in pie_core.run("build", tmp_path / "nothing.py").stderr
    ran = pie_core.run("build", source, "--with", "msgspec")
    assert ran.returncode == 1 and "holds compiled code" in ran.stderr and "Traceback" not in ran.stderr
    assert "leave --manifest out" in pie_core.run("build", source, "--manifest", source).stderr
    source.write_text("def main(): pass")
    assert "`main` must be `async def main():`" in pie_core.run("build", source).stderr
