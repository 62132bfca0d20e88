"""Sources and manifests are read in processes of their own, under limits, and the server goes on meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pie_core import ProgramError
from pie_core.application import program as programs
from pie_core.application.component import MANIFEST, write_section
from pie_core.application.manifest import Manifest
from pie_core.application.program import Program
from pie_core.application.wasm.check import CheckLimits, ProgramChecker
from tests.wasm.components import returns

KNOWN = frozenset({"forward", "embed_txt", "send"})
GOOD = "from inferlet import forward, Context\nasync def main():\n    pass\n"
SLOW = GOOD + "f(" + ",".join(f"a{n}=a" for n in range(25_000)) + ")"  # time grows with the square of the keywords


@pytest.fixture
def checker() -> Iterator[ProgramChecker]:
    checker = ProgramChecker(CheckLimits(large_cpu_s=1))
    yield checker
    checker.close()


def source(text: str) -> Program:
    return Program("p", text, "p.py")


def check(checker: ProgramChecker, program: Program) -> object:
    return asyncio.run(checker.check(program, KNOWN))


MANIFESTO = '# /// inferlet\n# description = "Hi."\n# traits = ["forward"]\n# ///\n'


def test_what_it_says_is_what_the_server_used_to_find(checker: ProgramChecker) -> None:
    for text in (GOOD, MANIFESTO + GOOD, "import inferlet as pie\npie.send\n" + GOOD):
        program = source(text)
        found = asyncio.run(checker.check(program, KNOWN))
        assert (found.manifest, found.calls) == (program.manifest, program.calls(KNOWN))
    assert asyncio.run(checker.check(source(MANIFESTO + GOOD), KNOWN)).manifest.description == "Hi."


@pytest.mark.parametrize(
    "text",
    [
        "",
        "def main(): pass",
        "async def main():\n    retrun 5 5",
        "async def main(): pass\nreturn 5",
        "async def main(): pass\n\0",
        GOOD + "x = " + "(" * 5000 + ")" * 5000,
        GOOD + "x = " + "-" * 100_000 + "1",
        "# /// inferlet\n# flags = 3\n# ///\n" + GOOD,
        "# /// inferlet\n" + GOOD,
    ],
)
def test_a_refusal_is_in_the_words_of_the_trusted_tier(checker: ProgramChecker, text: str) -> None:
    with pytest.raises(ProgramError) as expected:
        program = source(text)
        program.compile()
        program.manifest  # noqa: B018  # looked at for its error
    for _ in range(2):  # the second time from memory
        with pytest.raises(ProgramError) as caught:
            check(checker, source(text))
        assert str(caught.value) == str(expected.value)


def test_a_source_that_takes_too_long_meets_a_limit_and_the_loop_goes_on(checker: ProgramChecker) -> None:
    async def play() -> tuple[float, int]:
        await checker.warm_up()
        began, turns = time.thread_time(), 0
        checking = asyncio.create_task(checker.check(source(SLOW), KNOWN))
        while not checking.done():
            turns += 1
            await asyncio.sleep(0.005)
            await checker.check(source(f"{GOOD}# {turns}"), KNOWN)  # a small one does not wait behind it
        with pytest.raises(ProgramError, match=r"p\.py: checking it takes more than 1 s of processor time"):
            await checking
        return time.thread_time() - began, turns

    used, turns = asyncio.run(play())
    assert turns > 10
    assert used < 0.8  # of this thread, while a second was spent on the source


def test_after_a_limit_the_next_source_is_checked(checker: ProgramChecker) -> None:
    with pytest.raises(ProgramError, match="processor time"):
        check(checker, source(SLOW))
    large = GOOD + "#" * 20_000
    check(checker, source(large))


def test_a_process_that_is_killed_is_replaced(checker: ProgramChecker) -> None:
    check(checker, source(GOOD))
    child = checker._small._child
    assert child is not None
    os.killpg(child._process.pid, signal.SIGKILL)
    child._process.wait()
    check(checker, source(GOOD + "# 2"))


def test_a_process_that_does_not_answer_is_given_up(checker: ProgramChecker) -> None:
    checker._small._limits = CheckLimits(wall_s=0.2)
    check_started = checker._small._ready()
    os.kill(check_started._process.pid, signal.SIGSTOP)
    with pytest.raises(ProgramError, match=r"p\.py: checking it took longer than 0\.2 s and was given up; try again"):
        check(checker, source(GOOD))


def test_a_process_that_has_answered_much_makes_place_for_a_new_one(checker: ProgramChecker) -> None:
    seen = set()
    for number in range(60):
        check(checker, source(f"{GOOD}#{number}" + "#" * 200_000))
        assert checker._large._child is not None
        seen.add(checker._large._child)
    assert 3 <= len(seen) <= 5
    assert sorted(child._process.poll() is None for child in seen) == [False] * (len(seen) - 1) + [True]


def test_a_process_of_a_large_server_does_not_count_what_the_server_had(checker: ProgramChecker) -> None:
    ballast = bytearray(b"x") * (400 << 20)  # a child's peak in `getrusage` begins at that of its parent
    check(checker, source(GOOD))
    first = checker._small._child
    check(checker, source(GOOD + "# 2"))
    assert checker._small._child is first
    assert len(ballast) == 400 << 20


def test_the_server_itself_parses_nothing(checker: ProgramChecker, monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(*_: object) -> None:
        raise AssertionError("parsed in the server")

    monkeypatch.setattr(programs.ast, "parse", parse)
    monkeypatch.setattr(programs, "read_manifest", parse)
    monkeypatch.setattr(programs, "parse_manifest", parse)
    assert check(checker, source(GOOD)) is not None
    assert check(checker, Program("c", "", "c.wasm", with_manifest('description = "x"'))) is not None


def with_manifest(text: str) -> bytes:
    return write_section(returns("hi"), MANIFEST, text.encode(), "c.wasm")


def component(text: str) -> Program:
    return Program("c", "", "c.wasm", with_manifest(text))


def test_the_manifest_of_a_component(checker: ProgramChecker) -> None:
    assert asyncio.run(checker.check(Program("c", "", "c.wasm", returns("hi")), KNOWN)).manifest == Manifest()
    assert asyncio.run(checker.check(component('description = "x"'), KNOWN)).manifest.description == "x"
    for text, message in (
        ("flags = 3", "c.wasm: its section 'inferlet-manifest' is not right"),
        ("a = " + "[" * 20_000, "nested too deeply"),
        ("#" * 70_000, "has 70000 bytes; 65536 are allowed"),
    ):
        with pytest.raises(ProgramError, match=message):
            check(checker, component(text))


def test_a_component_of_endless_sections_is_not_searched(checker: ProgramChecker) -> None:
    many = Program("c", "", "c.wasm", returns("hi") + b"\0\2\1x" * 100_000)
    with pytest.raises(ProgramError, match="more than 10000 sections"):
        check(checker, many)


def test_nothing_is_left_when_it_is_closed(checker: ProgramChecker) -> None:
    check(checker, source(GOOD))
    child = checker._small._child
    assert child is not None
    checker.close()
    checker.close()
    assert not Path(f"/proc/{child._process.pid}").exists()
