"""Compiling strangers' components: what is kept, what is shared, what is refused, and at which limit."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import wasmtime
from wasmtime.component import Component

from pie_core.application.wasm import cache as cache_module
from pie_core.application.wasm import engine as engine_module
from pie_core.application.wasm.cache import ComponentCache, default_directory, digest_of
from pie_core.application.wasm.compile import CompileLimits, compile_component
from pie_core.application.wasm.compile_worker import Facts, checksum
from pie_core.application.wasm.engine import check_version, fingerprint, new_engine
from pie_core.errors import ConfigError, PieError, ProgramError, ResourceError

ERROR = '(record (field "code" string) (field "message" string))'
OUTCOME = "(result (option string) (error $error))"
BOMB_CALLS = 30_000  # in one function: some 3 s and 600 MiB


def component(name="run", type_=f"(result {OUTCOME})", error=ERROR, imports="", core="", body=""):
    """Bytes of a component that exports one function; `imports` and `core` are WAT, `core` within its module."""
    return bytes(
        wasmtime.wat2wasm(f"""
        (component
          (import "pie:core/types@1.0.0" (instance $types (type $e {error}) (export "error" (type (eq $e)))))
          (alias export $types "error" (type $error))
          {imports}
          (core module $m
            (memory (export "memory") 1) {core}
            (func (export "run") (param i32) (result i32) unreachable)
            (func (export "plain") (result i32) {body or "(i32.const 64)"}))
          (core instance $i (instantiate $m))
          (func $run {type_} (canon lift (core func $i "{"run" if "param" in type_ else "plain"}")
             (memory (core memory $i "memory"))))
          (export "{name}" (func $run)))""")
    )


def unlike(number):
    """A good component whose bytes differ from those of other numbers."""
    return component(body=f"(i32.const {64 + 8 * number})")


def bomb():
    calls = "(local.set 0 (call_indirect (type $t) (local.get 0) (local.get 0)))" * BOMB_CALLS
    return component(
        core=f"(type $t (func (param i32) (result i32))) (table 10 funcref)"
        f"(func (param i32) (result i32) {calls} (local.get 0))"
    )


@pytest.fixture
def engine():
    return new_engine()


@pytest.fixture
def make(tmp_path):
    """`make(limit=..., max_bytes=...)`: a cache as another start of the server would open it."""

    def cache(max_bytes=1 << 30, refused_s=600.0, **limits):
        return ComponentCache(tmp_path / "cache", CompileLimits(**limits), max_bytes=max_bytes, refused_s=refused_s)

    return cache


def get(cache, wasm):
    return asyncio.run(cache.get(wasm))


def refused(cache, wasm):
    with pytest.raises(ProgramError) as caught:
        get(cache, wasm)
    return str(caught.value)


def names(cache):
    return sorted(path.name for path in cache.directory.iterdir())


class Steps(list):
    """A progress that remembers."""

    def __call__(self, stage, share):
        self.append((stage, share))


# What is kept


def test_a_new_component_is_compiled_and_can_be_mapped(make, engine):
    steps, wasm = Steps(), component()
    compiled = asyncio.run(make().get(wasm, steps))
    assert compiled.compiled_s > 0
    assert compiled.digest == digest_of(wasm)
    assert compiled.imports == ("pie:core/types@1.0.0",)
    assert "run" in Component.deserialize_file(engine, str(compiled.path)).type.exports(engine)
    assert [share for _, share in steps] == [None, 1.0]


def test_the_same_bytes_are_not_compiled_twice(make):
    cache, steps = make(), Steps()

    async def twice():
        first = await cache.get(component())
        return first, await cache.get(component(), steps)

    first, second = asyncio.run(twice())
    assert first.compiled_s > 0
    assert second.compiled_s == 0
    assert first.path == second.path
    assert steps == []


def test_a_file_counts_as_its_bytes(make, tmp_path):
    (tmp_path / "program.wasm").write_bytes(component())
    assert get(make(), tmp_path / "program.wasm").digest == get(make(), component()).digest


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(make, tmp_path):
    assert "absent.wasm cannot be read" in refused(make(), tmp_path / "absent.wasm")


def test_a_restarted_server_finds_what_was_compiled(make):
    get(make(), component())
    assert get(make(), component()).compiled_s == 0


def test_requests_at_the_same_time_share_one_compilation(make):
    cache = make()

    async def many():
        return await asyncio.gather(*(cache.get(component()) for _ in range(20)))

    assert sum(compiled.compiled_s > 0 for compiled in asyncio.run(many())) == 1


def test_when_the_one_who_compiles_gives_up_the_next_one_compiles(make):
    cache = make()

    async def scenario():
        first = asyncio.create_task(cache.get(component(), impatient := Steps()))
        second = asyncio.create_task(cache.get(component()))
        while not impatient:
            await asyncio.sleep(0.001)
        first.cancel()
        return await asyncio.gather(first, second, return_exceptions=True)

    first, second = asyncio.run(scenario())
    assert isinstance(first, asyncio.CancelledError)
    assert second.compiled_s > 0


def test_a_component_is_found_by_its_digest_alone(make):
    cache = make()
    digest = digest_of(component())
    assert asyncio.run(cache.find(digest)) is None
    get(cache, component())
    found = asyncio.run(cache.find(digest))
    assert found is not None
    assert found.digest == digest


@pytest.mark.parametrize("digest", ["", "../x", "0" * 63, "0" * 64 + "\n", "G" * 64])
def test_what_is_no_digest_is_not_found_and_touches_no_file(make, monkeypatch, digest):
    cache = make()
    monkeypatch.setattr(cache, "_find", lambda digest: pytest.fail("looked for it"))
    assert asyncio.run(cache.find(digest)) is None


def test_different_components_have_different_entries(make):
    cache = make()

    async def both():
        return await asyncio.gather(cache.get(unlike(1)), cache.get(unlike(2)))

    one, other = asyncio.run(both())
    assert one.path != other.path


def test_two_servers_that_compile_the_same_both_get_it(make):
    one, other = make(), make()

    async def both():
        return await asyncio.gather(one.get(component()), other.get(component()))

    first, second = asyncio.run(both())
    assert first.path == second.path
    assert first.path.exists()
    assert len(names(one)) == 1


# What is damaged or foreign


class LaterFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What another version of the server might keep."""

    imports: tuple[str, ...]
    checksum: str
    new: str


def test_versions_that_keep_other_facts_share_a_cache_and_leave_each_other_alone(make, monkeypatch):
    wasm, ours = component(), make()
    get(ours, wasm)
    with monkeypatch.context() as later:
        later.setattr(cache_module, "FORMAT", 2)
        later.setattr(cache_module, "Facts", LaterFacts)
        theirs = make()
        assert asyncio.run(theirs.find(digest_of(wasm))) is None
    assert get(make(), wasm).compiled_s == 0.0  # ours is still there


def test_a_version_that_is_gone_leaves_entries_that_make_room(make, monkeypatch):
    wasm = component()
    with monkeypatch.context() as earlier:
        earlier.setattr(cache_module, "FORMAT", 0)
        get(make(), wasm)
    (old,) = names(make())
    get(make(max_bytes=1), wasm)
    assert old not in names(make())
    assert len(names(make())) == 1


@pytest.mark.parametrize("name", ["component.cwasm", "facts.json"])
@pytest.mark.parametrize("damage", ["flipped", "renamed", "cut", "absent"])
def test_a_damaged_entry_is_compiled_again(make, engine, name, damage):
    file = get(make(), component()).path.with_name(name)
    content = file.read_bytes()
    middle = len(content) // 2
    if damage == "flipped":
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 0x80]) + content[middle + 1 :])
    elif damage == "renamed":
        file.write_bytes(content.replace(b"pie:core", b"pie:cars"))
    elif damage == "cut":
        file.write_bytes(content[:middle])
    else:
        file.unlink()
    compiled = get(make(), component())
    assert compiled.compiled_s > 0
    Component.deserialize_file(engine, str(compiled.path))


def test_damage_done_while_the_server_runs_is_seen(make):
    cache = make()
    path = get(cache, component()).path
    path.write_bytes(b"\x7fELF and more")
    assert get(cache, component()).compiled_s > 0


def test_a_file_in_the_place_of_an_entry_is_replaced(make):
    entry = get(make(), component()).path.parent
    shutil.rmtree(entry)
    entry.write_text("not a directory")
    assert get(make(), component()).path.exists()


def test_code_that_the_engine_refuses_is_compiled_again(make, engine):
    """As after moving to another processor: the checksum is right, and still it cannot be used."""
    cache = make()
    compiled = get(cache, component())
    foreign = Component(wasmtime.Engine(), component()).serialize()
    facts = Facts(compiled.imports, checksum(foreign, compiled.imports))
    compiled.path.with_name("facts.json").write_bytes(msgspec.json.encode(facts))
    compiled.path.write_bytes(foreign)
    assert get(cache, component()).compiled_s == 0
    mapped, again = asyncio.run(cache.load(engine, component()))
    assert again.compiled_s > 0
    assert "run" in mapped.type.exports(engine)


def test_other_engine_settings_are_another_entry(make, monkeypatch):
    get(make(), component())
    before = fingerprint()
    monkeypatch.setattr(engine_module, "SETTINGS", (*engine_module.SETTINGS, ("consume_fuel", False)))
    assert fingerprint() != before
    assert get(make(), component()).compiled_s > 0


def test_a_directory_that_others_can_write_to_is_refused(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ConfigError, match="other users can write"):
        ComponentCache(tmp_path / "open")


def test_a_file_for_a_directory_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="choose another directory"):
        ComponentCache(tmp_path / "file")


def test_the_directory_is_only_for_its_owner(make):
    assert make().directory.stat().st_mode & 0o777 == 0o700


def test_the_default_directory_follows_the_platform(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_directory() == tmp_path / "pie-core" / "components"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the XDG specification
    assert default_directory() == Path.home() / ".cache" / "pie-core" / "components"


# Room


def test_what_was_unused_for_longest_is_evicted(make):
    cache = make()
    entries = [get(cache, unlike(number)).path.parent for number in range(3)]
    for age, entry in enumerate(entries):
        os.utime(entry, (1000 - age, 1000 - age))
    get(cache, unlike(2))  # used again, so now entry 1 is the oldest
    size = sum(file.stat().st_size for file in entries[0].iterdir())
    newest = get(make(max_bytes=3 * size + 100), unlike(3)).path.parent
    assert names(cache) == sorted(entry.name for entry in [entries[0], entries[2], newest])


def test_what_was_just_compiled_stays_even_in_a_cache_too_small_for_it(make):
    assert get(make(max_bytes=1), component()).path.exists()


def test_an_evicted_component_goes_on_working_where_it_is_mapped(make, engine):
    cache = make(max_bytes=1)
    mapped, _ = asyncio.run(cache.load(engine, unlike(1)))
    get(cache, unlike(2))
    assert len(names(cache)) == 1
    assert "run" in mapped.type.exports(engine)


def test_leavings_of_dead_servers_are_removed_and_those_of_living_ones_are_not(make):
    cache = make()
    for name, age_s in (("dead", 7200), ("living", 10)):
        leaving = cache.directory / f".unfinished-{name}"
        leaving.mkdir()
        os.utime(leaving, (time.time() - age_s,) * 2)
    get(cache, component())
    assert [name for name in names(cache) if name.startswith(".")] == [".unfinished-living"]


def test_nothing_unfinished_stays_behind(make):
    cache = make()
    refused(cache, component(name="main"))
    get(cache, component())
    assert not [name for name in names(cache) if name.startswith(".")]


# What is no inferlet


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (bytes(wasmtime.wat2wasm("(module)")), "core WebAssembly module, not a component.*jco new"),
        (b"(component)", "text, not WebAssembly"),
        ("async def main(): print('é')".encode() * 999, "text, not WebAssembly.*Python"),
        (b"\0as", "not WebAssembly.*00 61 73"),
        (b"\0asm\x01", "cut off"),
        (b"\0asm\x07\0\0\0", "unknown version"),
        (b"\x7fELF" + bytes(60), "native code"),
        (b"PK\x03\x04" + bytes(60), "not WebAssembly.*50 4b"),
    ],
)
def test_what_is_no_component_is_named_without_compiling(make, data, says):
    steps = Steps()
    with pytest.raises(ProgramError, match=says):
        asyncio.run(make().get(data, steps))
    assert steps == []


@pytest.mark.parametrize("length", [9, 100, -3])
def test_a_truncated_component_is_named(make, length):
    assert "truncated or damaged" in refused(make(), component()[:length])


def test_damaged_content_gets_wasmtimes_reason_on_one_line(make):
    wasm = component()[:8] + b"\xff" * 40
    message = refused(make(), wasm)
    assert "the component is not valid: failed to" in message
    assert "offset" in message
    assert "\n" not in message
    assert len(message) < 600


@pytest.mark.parametrize("kind", ["future", "stream"])
def test_futures_and_streams_in_a_signature_are_refused(make, kind):
    wasm = component(imports=f'(type $f ({kind} u32)) (import "a" (func (param "x" $f)))')
    assert "may not use `future`, `stream`" in refused(make(), wasm)


def test_a_component_without_run_is_told_what_it_exports(make):
    assert "exports no `run`, it exports main" in refused(make(), component(name="main"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"type_": f'(param "n" u32) (result {OUTCOME})'},
        {"type_": "(result u32)"},
        {"type_": "(result (result string (error $error)))"},
        {"type_": "(result (result (option u8) (error $error)))"},
        {"type_": "(result (result (option string) (error string)))"},
        {"type_": "(result (result (option string)))"},
        {"error": '(record (field "code" u32) (field "message" string))'},
        {"error": '(record (field "message" string) (field "code" string))'},
        {"error": '(record (field "code" string))'},
    ],
    ids=str,
)
def test_a_run_of_another_type_is_refused(make, wrong):
    assert "`run` has another type" in refused(make(), component(**wrong))


def test_a_run_that_is_no_function_is_refused(make):
    wasm = wasmtime.wat2wasm('(component (instance $i) (export "run" (instance $i)))')
    assert "`run` has another type" in refused(make(), bytes(wasm))


# Limits


@pytest.mark.parametrize(
    "limit", [{"cpu_s": 1}, {"wall_s": 0.4}, {"memory_bytes": 300 << 20}, {"wasm_bytes": 1000}], ids=str
)
def test_a_compile_bomb_is_stopped_at_the_limit_that_is_named(make, limit):
    cache = make(**limit)
    started = time.monotonic()
    assert f"limit {next(iter(limit))} = " in refused(cache, bomb())
    assert time.monotonic() - started < 5
    assert names(cache) == []
    assert _children() == []


@pytest.mark.parametrize("limit", [{"cpu_s": 1}, {"wall_s": 5.0}, {"memory_bytes": 300 << 20}, {"wasm_bytes": 1000}])
def test_an_ordinary_component_meets_none_of_those_limits(make, limit):
    assert get(make(**limit), component()).compiled_s > 0


def test_a_refused_program_is_not_tried_again_at_once(make, monkeypatch):
    cache, tries = make(wall_s=0.4), []

    async def compiled(*arguments):
        tries.append(arguments)
        await compile_component(*arguments)

    monkeypatch.setattr(cache_module, "compile_component", compiled)

    async def attack():
        return await asyncio.gather(*(cache.get(bomb()) for _ in range(10)), return_exceptions=True)

    outcomes = asyncio.run(attack())
    assert {type(outcome) for outcome in outcomes} == {ProgramError}
    assert len(tries) == 1


def test_a_refusal_is_forgotten_after_a_while(make):
    cache = make(wall_s=0.001, refused_s=0.0)
    refused(cache, component())
    cache.limits = CompileLimits()
    assert get(cache, component()).compiled_s > 0


def test_a_cancelled_request_leaves_no_process(make):
    cache = make()

    async def cancelled():
        async with asyncio.timeout(0.3):
            await cache.get(bomb())

    with pytest.raises(TimeoutError):
        asyncio.run(cancelled())
    assert _children() == []
    assert names(cache) == []


def test_no_more_compilations_than_allowed_run_at_once(make):
    cache, most = make(at_once=1), 0

    async def watch():
        nonlocal most
        while True:
            most = max(most, len(_children()))
            await asyncio.sleep(0.005)

    async def scenario():
        watcher = asyncio.create_task(watch())
        await asyncio.gather(*(cache.get(unlike(number)) for number in range(3)))
        watcher.cancel()

    asyncio.run(scenario())
    assert most == 1


def test_the_event_loop_goes_on_while_a_component_is_compiled(make):
    async def scenario():
        longest = 0.0
        compiling = asyncio.create_task(make(wall_s=1.0).get(bomb()))
        while not compiling.done():
            started = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - started)
        with pytest.raises(ProgramError):
            compiling.result()
        return longest

    assert asyncio.run(scenario()) < 0.3


def test_the_compiling_process_does_not_see_the_servers_secrets(make, monkeypatch, tmp_path):
    """A stand-in for the Python interpreter writes down its environment and ends like a refusal."""
    seen = tmp_path / "seen"
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ncat > /dev/null\nenv > {seen}\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("API_TOKEN", "secret")
    refused(make(), component())
    assert "PYTHONPATH" in seen.read_text()
    assert "secret" not in seen.read_text()


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        ("echo 'thread panicked at' >&2; exit 134", ProgramError, "the compiler crashed.*134.*panicked"),
        ("kill -KILL $$", ProgramError, "limit memory_bytes"),
        ("echo No space left; exit 5", ResourceError, "No space left.*make room"),
    ],
)
def test_a_compiler_that_dies_is_an_error_that_says_how(make, monkeypatch, tmp_path, script, error, says):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ncat > /dev/null\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(error, match=says):
        get(make(), component())


def _children():
    """Ids of the compilers that this process has started and that still run."""
    started = [child for tasks in Path("/proc/self/task").glob("*/children") for child in tasks.read_text().split()]
    return [child for child in started if "compile_worker" in _command_line(child)]


def _command_line(process):
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""  # it has ended meanwhile


# The engine


def test_another_wasmtime_is_refused_with_the_version_to_install():
    check_version("50.0.1")
    with pytest.raises(PieError, match=r"wasmtime 51\.0\.0 is installed.*pip install 'wasmtime==50"):
        check_version("51.0.0")


def test_an_access_out_of_bounds_ends_the_guest_and_not_the_server_whenever_the_fault_handler_is_enabled():
    source = """
import faulthandler, wasmtime
from pie_core.application.wasm.engine import new_engine
engine = new_engine()
faulthandler.enable()
store = wasmtime.Store(engine)
store.set_epoch_deadline(10)
module = wasmtime.Module(engine, '(module (memory 1) (func (export "f") (drop (i32.load (i32.const 2000000000)))))')
try:
    wasmtime.Instance(store, module, []).exports(store)["f"](store)
except wasmtime.Trap as trap:
    print(trap.trap_code.name)
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=20)
    assert done.stdout == "MEMORY_OUT_OF_BOUNDS\n", done.stderr
