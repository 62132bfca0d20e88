"""The swarm: right answers, and every message once and in order, as an eavesdropper on the topics hears it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pie_core.application.capabilities import Capabilities
from pie_core.application.events import Ended, Output
from pie_core.application.limits import Limits
from pie_core.application.program import Program, find_program
from pie_core.controller import Controller, Settings

from .running import OPTIONS, Ran, run

ROLES = ["planner", "geographer", "mathematician", "editor", "writer"]
SPAWN = Capabilities.of(spawn=True)
DEALT = [
    ("What is 12 + 30?", "geographer -> mathematician", f"12 + 30 is {12 + 30}."),
    ("What is the capital of Italy?", "mathematician -> geographer", "The capital of Italy is Rome."),
    ("What is stone in uppercase?", "editor", f"stone in uppercase is {'stone'.upper()}."),
]
SHUFFLED = "What is lamp in uppercase, what is the capital of Peru, what is 8 * 7 and what is 40 - 13?"
ANSWERS = [
    ("What is lamp in uppercase?", "geographer -> editor", f"lamp in uppercase is {'lamp'.upper()}."),
    ("What is the capital of Peru?", "mathematician -> geographer", "The capital of Peru is Lima."),
    ("What is 8 * 7?", "editor -> mathematician", f"8 * 7 is {8 * 7}."),
    ("What is 40 - 13?", "geographer -> mathematician", f"40 - 13 is {40 - 13}."),
]


def joined(answers: list[str]) -> str:
    parts = [answer.removesuffix(".") for answer in answers]
    parts = [parts[0], *[part.replace("The capital", "the capital") for part in parts[1:]]]
    return f"{', '.join(parts[:-1])} and {parts[-1]}."


def ask(*arguments: str) -> Ran:
    return run("swarm_agents", *arguments, capabilities=SPAWN)


def test_the_parts_are_answered_and_joined() -> None:
    ran = ask()
    lines = [f"{part} [{hands}] {answer}" for part, hands, answer in DEALT]
    assert ran.output.splitlines() == [*lines, f"Answer: {joined([answer for _, _, answer in DEALT])}"]
    assert ran.cost.steps < ran.cost.forwards  # workers that are ready together are one batch


def test_who_gets_a_part_that_is_not_his_trade_hands_it_over() -> None:
    lines = [f"{part} [{hands}] {answer}" for part, hands, answer in ANSWERS]
    wanted = [*lines, f"Answer: {joined([answer for _, _, answer in ANSWERS])}"]
    assert ask("--question", SHUFFLED).output.splitlines() == wanted


def test_a_planner_that_assigns_spares_the_way() -> None:
    lines = [f"{part} [{hands.split()[-1]}] {answer}" for part, hands, answer in ANSWERS]
    assert ask("--question", SHUFFLED, "--assign").output.splitlines()[:-1] == lines


# messages

EAVESDROPPER = """
from inferlet import *
import asyncio, json

async def hear(topic):
    with subscribe(topic) as messages:
        send("ready")
        async for message in messages:
            send(json.dumps([topic, json.loads(message)]))

async def main():
    await asyncio.gather(*[hear(topic) for topic in get_arg()])
"""


def overhear(question: str) -> tuple[str, dict[str, list[dict[str, Any]]]]:
    """The output of a swarm, and what was said on its topics."""

    async def go() -> tuple[str, dict[str, list[dict[str, Any]]]]:
        settings = Settings("pico", "torch", OPTIONS, tier="native", capabilities=SPAWN)
        async with Controller(settings) as controller:
            topics = [f"test/{name}" for name in [*ROLES, "events"]]
            spy = await controller.application.launch(Program("spy", EAVESDROPPER, "spy.py"), topics)
            for _ in topics:
                assert await next_text(spy) == "ready"
            program = find_program("swarm_agents")
            swarm = await controller.application.launch(program, ["--swarm", "test", "--question", question])
            output = await output_of(swarm)
            controller.application.stop(spy, "heard enough")
            heard: dict[str, list[dict[str, Any]]] = {topic: [] for topic in topics}
            while (text := await next_text(spy)) is not None:
                topic, message = json.loads(text)
                heard[topic].append(message)
            return output, {topic.removeprefix("test/"): messages for topic, messages in heard.items()}

    return asyncio.run(go())


async def next_event(inferlet: Any) -> Any:
    reading, arrived = inferlet.events.get(), asyncio.Event()
    reading.watch(lambda _: arrived.set())
    await arrived.wait()
    return reading.result()


async def next_text(inferlet: Any) -> str | None:
    event = await next_event(inferlet)
    return None if isinstance(event, Ended) else event.text


async def output_of(inferlet: Any) -> str:
    output = ""
    while not isinstance(event := await next_event(inferlet), Ended):
        assert isinstance(event, Output)
        output += event.text
    assert event.status == "finished", event.error
    return output


def test_every_message_arrives_once_and_in_order() -> None:
    """What a role has heard shows in what it says: one thing about each message, in the order of its topic."""
    output, heard = overhear(SHUFFLED)
    assert output.endswith("Answer: " + joined([answer for _, _, answer in ANSWERS]) + "\n")
    events = heard["events"]
    assert sorted(event["from"] for event in events[: len(ROLES)]) == sorted(ROLES)
    assert all(event["kind"] == "said" for event in events[len(ROLES) :])
    assert len(events) == len(ROLES) + 1 + len(ANSWERS) + 1
    for role in ROLES:
        taken = [message["part"] for message in heard[role]]
        passed_on = [said_by(role, topic) for topic in heard.values()]
        assert sorted(part for parts in passed_on for part in parts) == sorted(taken)
        for parts in passed_on:
            assert parts == [part for part in taken if part in parts]
    assert [len(heard[role]) for role in ROLES] == [1, 3, 3, 2, 1]


def said_by(role: str, topic: list[dict[str, Any]]) -> list[int]:
    """The parts that a role has said something about on a topic, in order."""
    return [message["part"] for message in topic if message["from"] == role and "part" in message]


# what goes wrong


def test_an_agent_that_says_nothing_is_not_waited_for_without_end() -> None:
    assert ask("--patience", "0.001").output == "The swarm gave up: no agent said anything for 0.001 seconds\n"


def test_without_leave_to_start_programs_it_says_what_it_needs() -> None:
    ran = run("swarm_agents")
    assert "The roles of a swarm are programs of their own." in ran.output and "--allow-spawn" in ran.output


def test_a_role_that_nobody_knows_is_told() -> None:
    assert "there is no role 'poet'; the roles are planner" in run("swarm_agents", "--role", "poet").output


def test_an_agent_that_ends_ends_the_swarm() -> None:
    """Without room for five programs, one of them cannot start."""
    ran = run("swarm_agents", capabilities=SPAWN, limits=Limits(max_children=3))
    assert "The swarm gave up: an agent has ended: " in ran.output and "inferlets run already" in ran.output


@pytest.mark.parametrize("question", ["", "Hello"])
def test_a_question_without_parts_ends_too(question: str) -> None:
    assert ask("--question", question).output
