"""Code that packages bring along: used where it fits, left as it is, and no obstacle where it does not."""

import asyncio
import platform
import re
from pathlib import Path

import msgspec
import pytest
import wasmtime
from wasmtime.component import Component

from pie_core.application.component import digest_of
from pie_core.application.wasm import engine as engine_module
from pie_core.application.wasm.cache import COMPONENTS, ComponentCache
from pie_core.application.wasm.compile_worker import CODE, FACTS, FORMAT, Facts, checksum, compile_into
from pie_core.application.wasm.engine import engine_config, fingerprint, new_engine, portable_config
from pie_core.application.wasm.prebuilt import find_prebuilt
from pie_core.errors import PieError
from pie_core.plugins import Selection
from tests.wasm.test_compile import component

GROUP = "pie_core.interpreters"


@pytest.fixture
def package(tmp_path):
    """`package(config)`: a directory with the component's code, compiled with this configuration."""

    def make(config):
        entry = tmp_path / "package" / COMPONENTS / f"{digest_of(component())}-{fingerprint()}-{FORMAT}"
        entry.mkdir(parents=True)
        compile_into(entry, component(), config)
        return entry

    return make


def load(tmp_path, entry):
    cache = ComponentCache(tmp_path / "cache", prebuilt=[entry.parents[1]])
    return asyncio.run(cache.load(new_engine(), component()))[1]


def content(entry):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in [entry, *entry.iterdir()][1:]}


def test_code_for_all_machines_of_this_kind_runs_here(tmp_path, package):
    entry = package(portable_config())
    used = load(tmp_path, entry)
    assert used.path.parent == entry and used.compiled_s == 0
    assert list((tmp_path / "cache").iterdir()) == []


def test_our_own_entry_goes_first(tmp_path, package):
    asyncio.run(ComponentCache(tmp_path / "cache").get(component()))
    assert load(tmp_path, package(portable_config())).path.is_relative_to(tmp_path / "cache")


X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="looks at features of x86-64 by name")
VNNI = b"has_avx_vnni"
OFF, ON = b"\x02\x00", b"\x02\x01"  # how wasmtime writes down whether code uses a feature


def compiled(config):
    return bytes(Component(wasmtime.Engine(config), component()).serialize())


@X86
def test_code_for_all_machines_uses_no_feature_that_some_lack():
    assert VNNI + OFF in compiled(portable_config())
    assert re.findall(rb"has_\w+\x02\x01", compiled(portable_config())) == []
    assert re.findall(rb"has_\w+\x02\x01", compiled(engine_config())) != []


def for_another_processor():
    if VNNI.decode().removeprefix("has_") in Path("/proc/cpuinfo").read_text().split():
        pytest.skip("this processor has the feature that the code is marked with")
    return compiled(portable_config()).replace(VNNI + OFF, VNNI + ON)


def with_other_settings():
    return compiled(wasmtime.Config())


@pytest.mark.parametrize("code", [pytest.param(for_another_processor, marks=X86), with_other_settings])
def test_code_that_does_not_fit_this_machine_is_compiled_again_and_left_as_it_is(tmp_path, package, code):
    entry = package(engine_config())
    facts = msgspec.json.decode((entry / FACTS).read_bytes(), type=Facts)
    (entry / CODE).write_bytes(code())
    facts = Facts(facts.imports, checksum((entry / CODE).read_bytes(), facts.imports))
    (entry / FACTS).write_bytes(msgspec.json.encode(facts))
    before = content(entry)
    used = load(tmp_path, entry)
    assert used.compiled_s > 0 and used.path.is_relative_to(tmp_path / "cache")
    assert content(entry) == before


def test_damaged_code_is_not_run_and_left_as_it_is(tmp_path, package):
    entry = package(portable_config())
    code = (entry / CODE).read_bytes()
    (entry / CODE).write_bytes(code[:-1] + bytes([code[-1] ^ 1]))
    before = content(entry)
    assert load(tmp_path, entry).compiled_s > 0
    assert content(entry) == before


def test_a_kind_of_machine_that_is_not_known_is_an_error_that_names_those_that_are(monkeypatch):
    monkeypatch.setattr(engine_module.platform, "machine", lambda: "vax")
    with pytest.raises(PieError, match=r"Linux, vax\), only for .*x86_64-unknown-linux-gnu"):
        portable_config()


def test_a_package_that_fails_is_a_warning_and_the_others_are_found(install, tmp_path, capsys):
    install("acme-good", {"acme_good": hook(f"Path({str(tmp_path)!r})")}, {GROUP: {"good": "acme_good"}})
    install("acme-bad", {"acme_bad": "1 / 0"}, {GROUP: {"bad": "acme_bad"}})
    install("acme-odd", {"acme_odd": hook("7")}, {GROUP: {"odd": "acme_odd"}})
    assert tmp_path in find_prebuilt(Selection())
    assert len(find_prebuilt(Selection())) == len(find_prebuilt(Selection(without=frozenset({"interpreters.bad"}))))
    shown = capsys.readouterr()
    assert "acme-bad" in shown.out + shown.err and "registers a int, not the Path" in shown.out + shown.err


def hook(value):
    return f"""
        from pathlib import Path
        from pie_core import hookimpl
        @hookimpl
        def pie_interpreters():
            return {value}
    """
