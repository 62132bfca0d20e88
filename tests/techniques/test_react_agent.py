"""ReAct against real HTTP tools: right answers, the right calls, nothing computed twice, and graceful when tools fail.

The answers are Python's and the facts'; each turn of the model is what transformers makes of the same text.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pie_inferlets.tools.server import ToolServer

from pie_core.application.capabilities import Capabilities
from pie_core.application.limits import Limits
from pie_core.application.program import find_program
from tests.network.conftest import Answer, reply, web_server

from .conftest import Reference
from .running import Ran, run, run_on, serving

SYSTEM = "Use the tools calculator[expression], lookup[key] and clock[what]."
FACTS = {
    "capital of Norway": "Oslo",
    "capital of Japan": "Tokyo",
    "temperature in Oslo": "-4",
    "zone of Tokyo": "Asia/Tokyo",
    "price of lamp": "35",
    "year of bridge": "1937",
}
NOON = datetime(2031, 5, 17, 12, 30, tzinfo=ZoneInfo("UTC"))


class LoggingServer(ToolServer):
    """Tools at a fixed time, and what was asked of them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), FACTS, NOON.astimezone)
        self.log: list[tuple[str, str]] = []

    def calculator(self, expression: str) -> str:
        self.log.append(("calculator", expression))
        return super().calculator(expression)

    def lookup(self, key: str) -> str:
        if not key.startswith("zone of"):  # the clock's own question
            self.log.append(("lookup", key))
        return super().lookup(key)

    def clock(self, what: str) -> str:
        self.log.append(("clock", what))
        return super().clock(what)


@pytest.fixture
def tools() -> Iterator[LoggingServer]:
    with LoggingServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def program_for(port: int, directory: Path) -> Path:
    """The program, whose manifest names the tools of the test."""
    path = directory / "react_agent.py"
    path.write_text(Path(find_program("react_agent").filename).read_text().replace(":8124", f":{port}"))
    return path


def granted(port: int) -> Capabilities:
    return Capabilities.of([f"127.0.0.1:{port}"])


def ask_all(questions: list[str], port: int, directory: Path, *arguments: str) -> list[Ran]:
    async def go() -> list[Ran]:
        given = ["--tools", f"http://127.0.0.1:{port}", "--patience", "100", *arguments]
        path = program_for(port, directory)
        async with serving() as controller:
            return [
                await run_on(controller, path, "--question", question, *given, capabilities=granted(port))
                for question in questions
            ]

    return asyncio.run(go())


def ask(question: str, port: int, directory: Path, *arguments: str) -> Ran:
    (ran,) = ask_all([question], port, directory, *arguments)
    return ran


ANNA = "Anna has 23 boxes with 45 apples each. How many apples are there?"
QUESTIONS = {
    ANNA: (f"{23 * 45} apples", [("calculator", "23 * 45")]),
    "How warm is it in the capital of Norway?": (
        f"It is {FACTS['temperature in Oslo']} degrees in Oslo.",
        [("lookup", "capital of Norway"), ("lookup", "temperature in Oslo")],
    ),
    "How much do 12 lamps cost?": (
        f"12 lamps cost {12 * 35}.",
        [("lookup", "price of lamp"), ("calculator", "12 * 35")],
    ),
    "What time is it in the capital of Japan?": (
        "It is 21:30 in Tokyo.",
        [("lookup", "capital of Japan"), ("clock", "time in Tokyo")],
    ),
    "How old is the bridge?": (
        f"The bridge is {NOON.year - 1937} years old.",
        [("lookup", "year of bridge"), ("clock", "year"), ("calculator", f"{NOON.year} - 1937")],
    ),
}


def test_answers_are_right_and_so_are_the_calls(tools: LoggingServer, tmp_path: Path) -> None:
    runs = ask_all([*QUESTIONS], tools.server_port, tmp_path)
    assert [ran.output.splitlines()[-1] for ran in runs] == [f"Answer: {answer}" for answer, _ in QUESTIONS.values()]
    assert tools.log == [call for _, calls in QUESTIONS.values() for call in calls]


def test_no_token_is_computed_twice_and_each_turn_is_that_of_transformers(
    tools: LoggingServer, tmp_path: Path, reference: Reference
) -> None:
    ran = ask("How old is the bridge?", tools.server_port, tmp_path)
    text = f"<|system|>{SYSTEM}<|user|>How old is the bridge?<|assistant|>"
    tokens, turns = len(reference.encode(text)), 0
    while not text.endswith("years old."):
        said = reference.decode(
            reference.generate(text, 200, stop_strings="Observation:", tokenizer=reference.tokenizer)
        )
        tokens, turns, text = tokens + len(reference.encode(said)), turns + 1, text + said
        if said.endswith("Observation:"):
            observation = f" {['1937', '2031', '94'][turns - 1]}\n"
            tokens, text = tokens + len(reference.encode(observation)), text + observation
    assert f"<|assistant|>{ran.output.rstrip()}" == text[text.index("<|assistant|>") :]
    assert turns == 4
    assert ran.cost.tokens == tokens


# tools that fail


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n35")
    await writer.drain()
    writer.close()


_QUESTION = "How much do 12 lamps cost?"
BROKEN: dict[str, tuple[Answer, str]] = {
    "fails": (reply(500, b"oops"), "status 500"),
    "knows nothing": (reply(404), "not found"),
    "says nothing": (reply(200, b" \n"), "the tool answered nonsense"),
    "answers garbage": (reply(200, b"\x00\xff\xfe\x80 35"), "the tool answered nonsense"),
    "answers a book": (reply(200, b"35 " * 100), "the tool answered nonsense"),
    "answers more than the limit": (reply(200, b"3" * 5000), "too long an answer"),
    "hangs up": (hang_up, "no answer"),
    "speaks no HTTP": (b"35\r\n\r\n", "no answer"),
}


def ask_broken(answers: list[Answer], directory: Path, *arguments: str) -> list[Ran]:
    """The same question to tools that answer so."""

    async def go() -> list[Ran]:
        async with web_server() as web, serving() as controller:
            given = [
                "--question",
                _QUESTION,
                "--tools",
                f"http://127.0.0.1:{web.port}",
                "--patience",
                "100",
                *arguments,
            ]
            limits = {"limits": Limits(http_bytes=4000), "capabilities": granted(web.port)}
            runs = []
            for answer in answers:
                web.answers["/lookup"] = answer
                runs.append(await run_on(controller, program_for(web.port, directory), *given, **limits))
            return runs

    return asyncio.run(go())


def gave_up(ran: Ran, why: str) -> bool:
    _, _, observation, thought, answer = ran.output.splitlines()
    assert observation == f"Observation: error: {why}"
    return (thought, answer) == ("Thought: The tool failed.", "Answer: I could not find the price of lamp.")


def test_a_tool_that_fails_is_an_observation_and_the_model_makes_nothing_up(tmp_path: Path) -> None:
    runs = ask_broken([answer for answer, _ in BROKEN.values()], tmp_path)
    for (how, (_, why)), ran in zip(BROKEN.items(), runs, strict=True):
        assert gave_up(ran, why), how


def test_a_tool_that_is_too_slow_is_waited_for_no_longer(tmp_path: Path) -> None:
    async def never(writer: asyncio.StreamWriter) -> None:
        await writer.wait_closed()

    (ran,) = ask_broken([never], tmp_path, "--patience", "0.2")
    assert gave_up(ran, "too slow")


def test_a_server_that_is_down_is_told_too(tmp_path: Path) -> None:
    with LoggingServer() as server:
        port = server.server_port  # free again, most likely, when it is closed
    assert gave_up(ask(_QUESTION, port, tmp_path), "no answer")


def test_tools_that_may_not_be_reached_are_told_to_the_user_and_not_to_the_model() -> None:
    ran = run("react_agent", "--tools", "http://localhost:8124")
    assert "The tools are out of reach. http://localhost:8124 may not be reached" in ran.output
    assert "Answer:" not in ran.output


def test_an_agent_that_does_not_come_to_an_end_is_stopped(tools: LoggingServer, tmp_path: Path) -> None:
    ran = ask("How old is the bridge?", tools.server_port, tmp_path, "--max-steps", "2")
    assert ran.output.endswith("No answer after 2 actions; --max-steps allows more.\n")
    assert len(tools.log) == 2


# without a server


def test_without_a_server_there_is_a_calculator_and_what_is_not_there_is_told() -> None:
    ran = run("react_agent")
    assert ran.output.endswith(f"Observation: {23 * 45}\nThought: I know the answer.\nAnswer: {23 * 45} apples\n")
    assert gave_up(run("react_agent", "--question", _QUESTION), "not found without a tool server")
