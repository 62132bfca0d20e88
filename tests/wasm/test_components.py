"""Programs that are components: read, checked, launched, kept ready, refused."""

import asyncio

import pytest

from pie_core.application.component import MANIFEST, PREAMBLE, digest_of, read_section, write_section
from pie_core.application.limits import Limits
from pie_core.application.native import NativeTier
from pie_core.application.program import Program, find_program, read_program
from pie_core.application.wasm import tier as tier_module
from pie_core.application.wasm.tier import WasmTier
from pie_core.errors import ArgumentError, ProgramError, TraitError
from tests.wasm.applications import play, run
from tests.wasm.components import returns

FLAGS = b'description = "Says hi."\n[flags.loud]\ndefault = false\n'


def program(wasm, name="hi"):
    return Program(name, "", f"{name}.wasm", wasm)


def with_manifest(wasm, text):
    return write_section(wasm, MANIFEST, text, "hi.wasm")


# sections


def test_a_section_is_read_back_and_replaced_and_leaves_the_rest_as_it_was():
    wasm = returns("hi")
    assert read_section(wasm, MANIFEST, "hi.wasm") is None
    once = with_manifest(wasm, b"x" * 300)  # a size of two LEB bytes
    assert once.startswith(wasm) and read_section(once, MANIFEST, "hi.wasm") == b"x" * 300
    other = write_section(once, "other", b"o", "hi.wasm")
    again = with_manifest(other, FLAGS)
    assert read_section(again, MANIFEST, "hi.wasm") == FLAGS and read_section(again, "other", "hi.wasm") == b"o"
    assert len(again) == len(with_manifest(wasm, FLAGS)) + len(other) - len(once)


@pytest.mark.parametrize(
    "tail", [b"\0", b"\x01\x05ab", b"\0\x80\x80\x80\x80\x80\x00", b"\0\x02\x09a", b"\0\x80"], ids=repr
)
def test_what_ends_within_a_section_is_damaged(tail):
    with pytest.raises(ProgramError, match=r"hi.wasm: the component is cut off or damaged"):
        read_section(PREAMBLE + tail, MANIFEST, "hi.wasm")


# programs


def test_a_component_is_found_by_its_path_and_says_what_it_is(tmp_path):
    path, unnamed = tmp_path / "hi.wasm", tmp_path / "hi"
    for each in (path, unnamed):
        each.write_bytes(with_manifest(returns("hi"), FLAGS))
    found = find_program(str(path))
    assert (found.name, found.source, found.filename) == ("hi", "", str(path))
    assert found.manifest.description == "Says hi." and list(found.manifest.flags) == ["loud"]
    assert found.digest == digest_of(path.read_bytes())
    assert read_program(unnamed).wasm == found.wasm
    with pytest.raises(ProgramError, match="does not exist"):
        find_program(str(tmp_path / "none.wasm"))


@pytest.mark.parametrize("text", [b"description = 5", b"flags = ", b"\xff", b"[flags.No]\ndefault = 1"])
def test_a_wrong_manifest_in_a_component_is_an_error_that_names_the_section(text):
    with pytest.raises(ProgramError, match=r"hi.wasm: its section 'inferlet-manifest'"):
        program(with_manifest(returns("hi"), text)).manifest  # noqa: B018


# running


def test_a_component_runs_and_its_text_is_the_result(tmp_path):
    async def test(application):
        assert (await run(application, program(returns("Grüße")))).value == "Grüße"
        assert application.inferlets == {}

    play(tmp_path, test)


def test_its_flags_are_checked_as_those_of_any_program(tmp_path):
    hi = program(with_manifest(returns("hi"), FLAGS))

    async def test(application):
        assert (await run(application, hi, "--loud")).value == "hi"
        with pytest.raises(ProgramError, match="unknown argument '--quiet'; its flags are: --loud"):
            await application.launch(hi, ["--quiet"])
        assert application.inferlets == {}

    play(tmp_path, test)


def test_a_second_launch_compiles_and_links_nothing(tmp_path, monkeypatch):
    linked = []
    link = WasmTier._link
    monkeypatch.setattr(WasmTier, "_link", lambda self, *rest: (linked.append(1), link(self, *rest))[1])

    async def test(application):
        await asyncio.gather(*[run(application, program(returns("hi"))) for _ in range(5)])
        assert len(linked) == 1

    play(tmp_path, test)


def test_only_so_many_components_are_kept_ready(tmp_path, monkeypatch):
    monkeypatch.setattr(tier_module, "LINKED", 2)

    async def test(application):
        for text in ("one", "two", "one", "three"):
            assert (await run(application, program(returns(text)))).value == text
        kept = list(application._tier._components)
        assert kept == [digest_of(returns(text)) for text in ("one", "three")]
        assert (await run(application, program(returns("two")))).value == "two"

    play(tmp_path, test)


def imports(name):
    return f'(import "{name}" (instance))'


@pytest.mark.parametrize(
    ("wasm", "kind", "says"),
    [
        (returns("hi", imports("pie:levitate/levitate@1.0.0")), TraitError, "'hi' imports.*trait levitate is not inst"),
        (
            returns("hi", imports("pie:forward/forward@1.0.0")),
            TraitError,
            r"program 'hi' needs forward, which model 'fake' does not have \(it has: .*forward: the backend cannot",
        ),
        (
            with_manifest(returns("hi"), b'traits = ["levitate"]'),
            TraitError,
            "program 'hi' needs levitate.*levitate is not installed",
        ),
        (b"async def main(): pass", ProgramError, "the program is text, not WebAssembly"),
        (returns("hi")[:-9], ProgramError, "not valid|damaged"),
    ],
    ids=["not installed", "not realized", "by manifest", "text", "cut"],
)
def test_a_component_that_cannot_run_is_refused_before_it_starts(tmp_path, wasm, kind, says):
    async def test(application):
        with pytest.raises(kind, match=f"(?s){says}"):
            await application.launch(program(wasm))
        assert application.inferlets == {}

    play(tmp_path, test, without=["forward"])


def test_a_component_over_the_limit_is_refused(tmp_path):
    wasm = returns("hi")

    async def test(application):
        with pytest.raises(ArgumentError, match=f"'hi' has {len(wasm)} bytes; {len(wasm) - 1} are allowed"):
            await application.launch(program(wasm))

    play(tmp_path, test, limits=Limits(component_bytes=len(wasm) - 1))
    play(tmp_path, lambda application: run(application, program(wasm)), limits=Limits(component_bytes=len(wasm)))


def test_without_isolation_a_component_is_refused_and_told_what_to_do(tmp_path):
    async def test(application):
        with pytest.raises(ProgramError, match=r"hi.wasm is a WebAssembly component and runs in.*without --native"):
            await application.launch(program(returns("hi")))

    play(tmp_path, test, tier=NativeTier())
