"""Text completion in other languages: built where the tools are, and the same text as the Python program gives."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pie_core.application.component import MANIFEST, read_section
from pie_core.application.native import NativeTier
from pie_core.application.program import read_program
from tests.wasm.applications import play, run_and_read

INFERLETS = Path(__file__).parents[2] / "inferlets"
PIE = f"{sys.executable} -m pie_core.cli"
CLANG = ("-nostartfiles", "-Wl,--no-entry", "-x", "c", "-", "-o", os.devnull)
PROMPTS = [
    "The capital of France is",
    'quotes " and \\ back\\slashes, {"max_tokens":3}, \t tabs\nand lines \x01',
    "Grüße, Ελλάδα, 日本語, \U0001f967",
]
ANSWERS = [None, "plain text", "pie: \U0001f967, ümläute, 日本", "broken \ufffd"]


def works(command, source):
    """Whether a compiler takes this source."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, input=source.encode(), capture_output=True).returncode == 0


def c(directory):
    for clang in ("clang-19", "clang", "clang-18", "clang-17", "clang-16"):
        if works([clang, "--target=wasm32-wasi", *CLANG], "#include <stdlib.h>\nvoid *f(void) { return malloc(1); }"):
            return {"CLANG": clang}
    pytest.skip("no clang for wasm32-wasi: apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32")


def rust(directory):
    source = '#[no_mangle] pub extern "C" fn f() -> usize { String::from("x").len() }'
    for rustc in ("rustc", "/usr/bin/rustc"):
        for linker in ("", "wasm-ld-14", "wasm-ld"):
            flags = ["--crate-type=cdylib", "--target=wasm32-unknown-unknown", "-", "-o", str(directory / "probe")]
            if works([rustc, *flags, *(["-C", f"linker={linker}"] if linker else [])], source):
                return {"RUSTC": rustc, "LINKER": linker}
    pytest.skip("no rustc for wasm32-unknown-unknown: rustup target add wasm32-unknown-unknown")


def js(directory):
    if shutil.which("componentize-qjs") is None:
        pytest.skip("no componentize-qjs: npm install -g componentize-qjs@0.4.5")
    return {}


@pytest.fixture(scope="module", params=[c, rust, js], ids=lambda tools: tools.__name__)
def component(request, tmp_path_factory):
    """The built program."""
    if shutil.which("make") is None:
        pytest.skip("no make")
    directory = tmp_path_factory.mktemp(request.param.__name__)
    settings = request.param(directory) | {"PIE": PIE, "BUILD": str(directory)}
    made = subprocess.run(
        ["make", "-C", str(INFERLETS / request.param.__name__), *(f"{k}={v}" for k, v in settings.items())],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return directory / "text_completion.wasm"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Where compiled components are kept for all tests of this file."""
    return tmp_path_factory.mktemp("compiled")


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("most", [0, 1, 40])
def test_it_gives_the_same_text_as_the_python_program(component, compiled, answer, most):
    def texts(program, tier=None):
        async def test(application):
            results = []
            for prompt in PROMPTS:
                flags = ("--prompt", prompt, "--max-tokens", str(most))
                results.append(await run_and_read(application, program, *flags))
            return results

        return play(compiled, test, tier=tier, answer=answer, pages=256, embeds=512)

    expected = texts(read_program(INFERLETS / "text_completion.py"), NativeTier())
    assert {ended.status for _, ended in expected} == {"finished"}
    assert texts(read_program(component)) == expected


def test_an_error_of_the_server_ends_it_with_the_servers_words(component, compiled):
    async def test(application):
        shown, ended = await run_and_read(application, read_program(component), "--prompt", "x" * 500)
        assert (shown, ended.status) == ("", "failed"), ended.error
        assert ended.error.startswith("500 embeds asked for, 0 held: over the 64 that one inferlet may hold")

    play(compiled, test, embeds=64)


def test_its_manifest_is_inside(component):
    name = component.parent.name
    section = read_section(component.read_bytes(), MANIFEST, "text_completion.wasm")
    sources = [(INFERLETS / each / "text_completion.toml").read_bytes() for each in ("c", "rust", "js")]
    assert section in sources, name
    assert list(read_program(component).manifest.flags) == ["prompt", "max_tokens"]


def test_it_imports_no_wasi(component):
    import wasmtime
    from wasmtime.component import Component

    engine = wasmtime.Engine(wasmtime.Config())
    imports = Component(engine, component.read_bytes()).type.imports(engine)
    assert all(name.startswith("pie:") for name in imports)
