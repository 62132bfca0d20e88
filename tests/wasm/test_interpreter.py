"""The interpreter component and self-contained ones, built by componentize-py and run by wasmtime's own package.

Building takes about 15 s and compiling 10; both are kept in pytest's cache under the hash of what went in.
"""

from __future__ import annotations

import threading
from pathlib import Path
from textwrap import dedent

import pytest
from pie_traits_text.allocate import ALLOCATE
from pie_traits_text.forward import FORWARD
from pie_traits_text.input_text import INPUT_TEXT
from pie_traits_text.output_text import OUTPUT_TEXT
from pie_traits_text.tokenize import TOKENIZE
from wasmtime import component as wc

from pie_core.application.program import Program
from pie_core.application.wasm import interpreter as builder
from pie_core.application.wasm.bundle import bundle
from pie_core.application.wasm.interpreter import build_interpreter, build_program
from pie_core.application.wasm.merging.component import read_component
from pie_core.application.wasm.merging.module import read_module
from pie_core.errors import ConfigError, PieError, ProgramError
from tests.wasm.stock_host import Refused, StockHost

TRAITS = [INPUT_TEXT, OUTPUT_TEXT, FORWARD, ALLOCATE, TOKENIZE]


@pytest.fixture(scope="session")
def cache(request):
    return Path(request.config.cache.mkdir("components"))


@pytest.fixture(scope="session")
def component(cache):
    return StockHost(build_interpreter(TRAITS, cache))


@pytest.fixture
def run(component):
    """Run a program, given as source; `answers` by function name."""

    def start(source, *modules, **answers):
        named = {name.replace("_", "-"): answer for name, answer in answers.items()}
        return component.run([("my.py", dedent(source)), *modules], named)

    return start


def lines_of(traceback):
    """A traceback without the marks under its lines, which differ between versions of Python."""
    return [line for line in traceback.splitlines() if line.strip(" ~^")]


def test_it_is_one_module_and_what_calls_its_imports(cache):
    modules = [read_module(each) for each in read_component(build_interpreter(TRAITS, cache).read_bytes()).modules]
    assert [len(module.memories) for module in modules] == [1, 0, 0]


def test_it_imports_the_world_of_the_traits_and_nothing_else_of_pie(component):
    assert {name for name in component.imports if name.startswith("pie:")} == {
        *(f"pie:core/{name}@1.0.0" for name in ("types", "tickets", "source", "runtime")),
        *(f"pie:{name}/{name}@1.0.0" for name in ("input-text", "output-text", "forward", "allocate", "tokenize")),
    }


def test_a_program_prints_and_returns(run):
    ran = run("""
        import sys
        async def main():
            print("one", 2, sep="-", end="")
            print()
            print("to", "stderr", file=sys.stderr)
            sys.stdout.write("half \\ud83d")
            return "ä\\U0001f600 \\ud83d"
    """)
    assert "".join(ran.output) == "one-2\nto stderr\nhalf \ufffd" and ran.output[0] == "one-2"
    assert ran.returned == "ä\U0001f600 \ufffd" and ran.error is None


def test_a_program_may_return_nothing(run):
    ran = run("async def main(): pass")
    assert (ran.returned, ran.error, ran.output) == (None, None, [])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return 1 / 0", ["    return 1 / 0", "ZeroDivisionError: division by zero"]),
        ("import sys; sys.exit(3)", ["    import sys; sys.exit(3)", "SystemExit: 3"]),
        ("send(5)", ["    send(5)", "inferlet.errors.ArgumentError: send: argument `msg`: expected str, got 5 (int)"]),
        ("raise KeyError('ä')", ["    raise KeyError('ä')", "KeyError: 'ä'"]),
    ],
)
def test_a_failing_program_shows_its_own_lines_and_nobody_elses(run, body, expected):
    ran = run(f"from inferlet import *\nasync def main():\n    {body}\n")
    head = ["Traceback (most recent call last):", '  File "my.py", line 3, in main']
    assert lines_of(ran.error) == [*head, *expected] and ran.returned is None


def test_causes_and_groups_keep_their_own_lines(run):
    ran = run("""
        import asyncio
        async def fail(n):
            await asyncio.sleep(0)
            raise ValueError(n)  # in fail
        async def main():
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(fail(1))
            except* ValueError as errors:
                raise RuntimeError("wrapped") from errors
    """)
    assert "raise ValueError(n)  # in fail" in ran.error and ran.error.endswith("RuntimeError: wrapped")
    assert "inferlet_guest" not in ran.error


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x x", 'File "my.py", line 1'),
        ("import nothing_like_it", "ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("async def main(): return 5", "my.py: main returned int; return a str or None"),
        ("import asyncio\nasync def main(): await asyncio.Event().wait()", "waits for something that cannot happen"),
        ("async def main():\n    def f(): f()\n    f()", "RecursionError"),
        ("async def main(): return str([0] * (1 << 30))", "MemoryError"),
        ("async def main():\n    held = []\n    while True: held.append(object())", "MemoryError"),
        ("async def main():\n    global held\n    held = []\n    while True: held.append([held])", "MemoryError"),
        ("import asyncio\nasync def main(): raise asyncio.CancelledError", "asyncio.exceptions.CancelledError"),
        ("async def main(): open('/etc/passwd')", "FileNotFoundError"),
        ("import threading\nasync def main(): threading.Thread(target=print).start()", "can't start new thread"),
    ],
)
def test_what_cannot_run_is_a_failure_that_says_why(run, source, message):
    assert message in run(source).error


def test_leaving_from_a_callback_ends_the_program_with_one_report(run):
    ran = run("""
        import asyncio, sys
        async def main():
            asyncio.get_running_loop().call_soon(lambda: sys.exit(4))
            await asyncio.sleep(1)
    """)
    assert ran.error.endswith("SystemExit: 4") and ran.output == []


def test_every_instance_draws_its_own_numbers(run):
    source = "import random, uuid\nasync def main(): return f'{random.random()} {uuid.uuid4()}'"
    assert len({part for _ in range(3) for part in run(source).returned.split()}) == 6


def test_instances_share_nothing(run):
    source = """
        import inferlet
        async def main():
            inferlet.mark = getattr(inferlet, "mark", 0) + 1
            return str(inferlet.mark)
    """
    assert [run(source).returned for _ in range(2)] == ["1", "1"]


def test_modules_travel_with_a_program(run):
    helper = ("helper.py", "def fail():\n    raise ValueError('x')  # in the helper\n")
    ran = run("import helper\nasync def main():\n    helper.fail()", helper)
    assert 'File "helper.py", line 2, in fail\n    raise ValueError' in ran.error


def test_asyncio_works(run):
    ran = run("""
        import asyncio
        async def work(n):
            await asyncio.sleep(n / 100)
            print(n)
            return n
        async def main():
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(10)
            except TimeoutError:
                print("timeout")
            async def leave():
                raise SystemExit(7)
            print(*await asyncio.gather(asyncio.create_task(leave()), return_exceptions=True))
            return str(await asyncio.gather(*map(work, (3, 1, 2))))
    """)
    assert ran.output == ["timeout\n", "a task of the program called sys.exit(7)\n", "1\n", "2\n", "3\n"]
    assert ran.returned == "[3, 1, 2]"


def test_errors_that_nobody_awaits_are_shown(run):
    ran = run("""
        import asyncio
        async def fail():
            raise ValueError("lost")
        async def main():
            asyncio.create_task(fail())
            await asyncio.sleep(0.01)
    """)
    (shown,) = ran.output
    assert "never retrieved" in shown and 'raise ValueError("lost")' in shown and "inferlet_guest" not in shown


def test_calls_cross_with_all_kinds_of_values(run):
    dist, seen = wc.Record(), {}
    dist.ids, dist.probs, dist.rest = [3, 1], [0.5, 0.25], 0.25
    export = wc.Record()
    export.name, export.pages, export.tokens, export.owner, export.age = "e", 1, 2, "me", 0.5

    def note(name, value):
        return lambda *arguments: seen.setdefault(name, arguments) and value

    def forward(q, ikv, iemb, okv, oemb, mask):
        seen["mask"] = vars(mask)
        return 2

    ran = run(
        """
        from inferlet import *
        async def main():
            q = Queue("m", 4)
            embed_txt(q, [7, 8], [0, 1], [1, 2])
            forward(q, [5], [1], [5], [1], [[True, False, True]])
            sleep(0)
            dist = await get_next_dist(q, [1], None)
            mask_kvpage(q, [5], [True])
            copy_kvpage(q, [5], [6], length=3)
            first = exported_kvpages()[0]
            send_blob(b"\\0")
            return f"{dist.ids} {dist.probs} {dist.rest} {get_vocabs(q)} {first.name} {first.age} {tokenize(q, 'ä')}"
        """,
        embed_txt=note("embed_txt", 1),
        forward=forward,
        get_next_dist=note("get_next_dist", 1),
        get_next_dist_result=lambda ticket: dist,
        mask_kvpage=lambda q, kv, mask: None,
        copy_kvpage=note("copy_kvpage", 1),
        exported_kvpages=lambda: [export],
        send_blob=lambda data: seen.setdefault("blob", bytes(data)) and None,
        get_vocabs=lambda q: [b"a", b"\xff"],
        tokenize=lambda q, text: [len(text)],
    )
    assert ran.error is None
    assert ran.returned == "[3, 1] [0.5, 0.25] 0.25 [b'a', b'\\xff'] e 0.5 [1]"
    assert seen["embed_txt"] == (4, [7, 8], [0, 1], [1, 2]) and seen["get_next_dist"] == (4, [1], None)
    assert seen["copy_kvpage"] == (4, [5], [6], 0, 0, 3) and seen["blob"] == b"\0"
    assert (seen["mask"]["rows"], seen["mask"]["cols"], bytes(seen["mask"]["data"])) == (1, 3, b"\5")


def test_refusals_of_the_server_are_the_errors_of_the_sdk(run):
    def refuse(*_):
        raise Refused("resource", "the pool is dry")

    ran = run(
        """
        from inferlet import *
        async def main():
            try:
                alloc_kvpage(Queue("m", 1), 1)
            except ResourceError as error:
                return f"{error.code} {error}"
        """,
        alloc_kvpage=refuse,
    )
    assert ran.returned == "resource the pool is dry"


def test_chat_templates_are_rendered(run):
    ran = run("""
        from inferlet import render_chat
        TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        async def main():
            return render_chat(TEMPLATE, [{"role": "u", "content": "c"}])
    """)
    assert ran.returned == "<u>c"


def test_a_component_can_hold_its_program_and_packages(cache, install):
    install("acme-pure", {"acme_pure": "def shout(text):\n    return text.upper() + '!'\n"}, {})
    record_files("acme-pure", ["acme_pure.py"])
    program = Program("my", "import acme_pure\nasync def main():\n    return acme_pure.shout('a')\n", "/home/me/my.py")
    path = build_program(program, TRAITS, cache, ["acme-pure"])
    ran = StockHost(path).run()
    assert ran.returned == "A!" and "get" not in ran.crossings
    assert build_program(program, TRAITS, cache, ["acme-pure"], pytest.fail) == path


def test_a_program_that_does_not_compile_is_not_built(tmp_path):
    with pytest.raises(ProgramError, match="does not compile"):
        build_program(Program("my", "x x", "my.py"), TRAITS, tmp_path)


def record_files(name, files):
    """Have a made-up distribution name its files, as pip does."""
    from importlib.metadata import distribution

    info = Path(str(distribution(name).locate_file(f"{name.replace('-', '_')}-1.0.dist-info")))
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def test_packages_are_bundled_with_what_they_require(install):
    install("acme-pure", {"acme_pure": "import acme_base\n"}, {})
    install("acme-base", {"acme_base": "N = 1\n"}, {})
    record_files("acme-pure", ["acme_pure.py", "../../bin/acme.py", "acme_pure-1.0.dist-info/METADATA"])
    record_files("acme-base", ["acme_base.py"])
    metadata("acme-pure", "Requires-Dist: acme-base>=1\nRequires-Dist: nothing; extra == 'more'\n")
    assert bundle(["acme-pure"]) == [("acme_base.py", "N = 1\n"), ("acme_pure.py", "import acme_base\n")]


def metadata(name, lines):
    from importlib.metadata import distribution

    info = Path(str(distribution(name).locate_file(f"{name.replace('-', '_')}-1.0.dist-info")), "METADATA")
    info.write_text(info.read_text() + lines)


def test_compiled_packages_are_refused_by_name():
    with pytest.raises(
        ConfigError, match=r"package msgspec cannot run in the sandbox: it holds compiled code \(.*\.so\)"
    ):
        bundle(["msgspec"])


def test_a_package_that_is_not_installed_is_named_with_near_ones():
    with pytest.raises(ConfigError, match=r"'msgspeck' \(--with\) is not installed; did you mean 'msgspec'"):
        bundle(["msgspeck"])


def test_a_missing_builder_is_an_error_that_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "BUILDER", "componentize-py-that-is-not-there")
    with pytest.raises(PieError, match="pip install componentize-py-that-is-not-there"):
        build_interpreter(TRAITS, tmp_path)


def test_a_build_that_fails_shows_the_last_lines_and_leaves_nothing(tmp_path):
    (tmp_path / "wit").mkdir()
    (tmp_path / "code").mkdir()
    (tmp_path / "wit" / "x.wit").write_text("package a:b;\nworld w { import nothing; }\n")
    with pytest.raises(PieError, match=r"componentize-py failed with status 1.*\n(.*\n)*.*nothing"):
        builder._componentize(tmp_path / "wit", tmp_path / "code", "w", tmp_path / "out.wasm")
    assert not list(tmp_path.glob("*.wasm")) and not list(tmp_path.glob("*.part"))


def test_the_hash_depends_on_names_contents_and_versions(tmp_path):
    for name, text in (("a/x", "1"), ("b/x", "2"), ("c/y", "1")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    keys = [builder._key([tmp_path / tree], ["1"]) for tree in "abca"]
    assert keys[0] == keys[3] and len({*keys, builder._key([tmp_path / "a"], ["2"])}) == 4


def test_two_that_build_the_same_wait_for_each_other(tmp_path):
    order, inside = [], threading.Event()

    def second():
        inside.wait(10)
        with builder._lock(tmp_path / "lock"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with builder._lock(tmp_path / "lock"):
        inside.set()
        thread.join(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_a_cache_that_cannot_be_written_is_an_error_that_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"), builder._lock(tmp_path / "file" / "x" / "lock"):
        pass
