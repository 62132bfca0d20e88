# /// inferlet
# description = "Agents with roles that share out a question, hand over and join: programs that talk by topics (Swarm)."
# traits = ["input_text", "tokenize", "output_text"]
# spawn = true
# [flags.question]
# default = "What is 12 + 30, what is the capital of Italy and what is stone in uppercase?"
# help = "The question, of parts for a geographer, a mathematician and an editor."
# [flags.assign]
# default = false
# help = "Have the planner choose the worker of each part; otherwise parts are dealt out in turn, and handed over."
# [flags.patience]
# default = 120.0
# help = "Seconds to wait for the next message."
# [flags.swarm]
# default = ""
# help = "What the topics begin with; by default the id of the coordinator, so that swarms do not hear each other."
# [flags.role]
# default = ""
# help = "The role of this program. The coordinator has none; it starts the others."
# ///
"""A swarm of agents (OpenAI's Swarm, 2024; AutoGen, Wu et al. 2023, arXiv:2308.08155): roles, messages and hand-over.

Each role is a program of its own, this file once more, with its own system prompt and its own keys and values. They
share nothing but topics: SWARM/ROLE is what a role hears, SWARM/events what the coordinator hears. The planner splits
the question, workers answer a part each, the writer joins. A worker whose part is not its trade says `Hand over to
ROLE.`, and the part goes on to that role's topic, past the coordinator. What is ready at the same time is one batch.

Faithful: a role is a prompt, a hand-over is something that the model says. Simplified: three trades, one round.
"""

import asyncio
import json

from inferlet import (
    CapabilityError,
    PieError,
    broadcast,
    flags,
    get_auto_model,
    get_instance_id,
    max_tokens,
    prompt_lookup,
    spawn,
    subscribe,
)

WORKERS = ["geographer", "mathematician", "editor"]
ROLES = ["planner", *WORKERS, "writer"]
PLAN, ASSIGN = "Split the question.", "Split the question and give each part to a worker."
HAND_OVER = "Hand over to "
MOST_HANDS = 4  # that a part goes through
LONGEST_ANSWER = 200  # tokens
DRAFTS = 8  # tokens looked up in the message for one pass: agents copy much of what they are told


async def main():
    options = flags()
    swarm = options["swarm"] or get_instance_id()
    try:
        if options["role"]:
            await Agent(swarm, options["role"], options["assign"]).listen()
        else:
            await Coordinator(swarm, options["patience"]).answer(options["question"], options["assign"])
    except CapabilityError as error:
        print(f"The roles of a swarm are programs of their own. {error}")
    except SwarmError as error:
        print(f"The swarm gave up: {error}")


class SwarmError(Exception):
    """No answer will come."""


class Agent:
    """One role: hears its topic, lets the model say one thing about each message, and passes that on."""

    def __init__(self, swarm, role, assign):
        if role not in ROLES:
            raise SwarmError(f"there is no role {role!r}; the roles are {', '.join(ROLES)}")
        self.swarm = swarm
        self.role = role
        others = " or ".join(worker for worker in WORKERS if worker != role)
        duties = {"planner": ASSIGN if assign else PLAN, "writer": "Join the answers."}
        self.system = f"You are the {role}. {duties.get(role, f'Answer, or hand over to {others}.')}"

    async def listen(self):
        """Until the coordinator ends, and this program with it."""
        with get_auto_model().create_context() as prompt, subscribe(f"{self.swarm}/{self.role}") as messages:
            await prompt.system(self.system)
            prompt.hidden_states()  # run it now, all roles together, and not when the first message is there
            self.tell("events", kind="ready")
            async for message in messages:
                await self.handle(prompt, json.loads(message))

    async def handle(self, prompt, message):
        with prompt.fork() as context:
            await context.user(message["text"])
            said = (await context.generate(stop=max_tokens(LONGEST_ANSWER), drafter=prompt_lookup(DRAFTS))).strip()
        part, hands = message["part"], [*message["hands"], self.role]
        other = said.removeprefix(HAND_OVER).removesuffix(".")
        if not said.startswith(HAND_OVER) or self.role not in WORKERS:
            self.tell("events", kind="said", part=part, text=said, hands=hands)
        elif other not in WORKERS or len(hands) == MOST_HANDS:
            self.tell("events", kind="stuck", part=part, text=said, hands=hands)
        else:
            self.tell(other, part=part, text=message["text"], hands=hands)

    def tell(self, to, **message):
        broadcast(f"{self.swarm}/{to}", json.dumps({"from": self.role, **message}))


class Coordinator:
    """Starts the roles, and leads a question through them."""

    def __init__(self, swarm, patience_s):
        self.swarm = swarm
        self.patience_s = patience_s

    async def answer(self, question, assign):
        """Print the plan, who answered what, and the answer. Raises `SwarmError`."""
        with subscribe(f"{self.swarm}/events") as events:
            self.events = events
            children = [self.start(role, assign) for role in ROLES]
            self.ends = [asyncio.create_task(end_of(child)) for child in children]
            for _ in ROLES:
                await self.next_event("ready")
            plan = await self.ask("planner", question)
            parts = [line for line in plan.splitlines() if line]
            if not parts:
                raise SwarmError("the planner said nothing")
            dealt = [self.deal(number, part, assign) for number, part in enumerate(parts)]
            answers = await self.collect(dealt)
            print("Answer:", await self.ask("writer", "\n".join(answers)))

    def start(self, role, assign):
        return spawn("swarm_agents", ["--role", role, "--swarm", self.swarm, *(["--assign"] if assign else [])])

    async def ask(self, role, text):
        """What one role says about a text."""
        self.tell(role, 0, text)
        return (await self.next_event("said"))["text"]

    def deal(self, number, part, assign):
        """Send a part to a worker: to the one that the planner has named, or to the next in turn."""
        role = WORKERS[number % len(WORKERS)]
        if assign:
            role, _, part = part.partition(": ")
            if role not in WORKERS:
                raise SwarmError(f"the planner named no worker for {part or role!r}")
        self.tell(role, number, part)
        return part

    async def collect(self, dealt):
        """The answers to all parts, in their order."""
        answers = {}
        while len(answers) < len(dealt):
            event = await self.next_event("said")
            answers[event["part"]] = event
        for number, part in enumerate(dealt):
            print(f"{part} [{' -> '.join(answers[number]['hands'])}] {answers[number]['text']}")
        return [answers[number]["text"] for number in range(len(dealt))]

    async def next_event(self, kind):
        """The next message of the agents, which must be of this kind. Raises `SwarmError`, also if an agent ends."""
        message = asyncio.ensure_future(anext(self.events))
        try:
            done, _ = await asyncio.wait([message, *self.ends], timeout=self.patience_s, return_when="FIRST_COMPLETED")
            for ended in done - {message}:
                raise SwarmError(f"an agent has ended: {ended.result()}")
            if not message.done():
                raise SwarmError(f"no agent said anything for {self.patience_s:g} seconds")
        finally:
            message.cancel()
        event = json.loads(message.result())
        if event["kind"] != kind:
            raise SwarmError(f"{event['from']} said {event['text']!r} and nobody takes that")
        return event

    def tell(self, role, part, text):
        message = {"from": "coordinator", "part": part, "text": text, "hands": []}
        broadcast(f"{self.swarm}/{role}", json.dumps(message))


async def end_of(child):
    """Why an agent has ended, which none should before the coordinator."""
    try:
        await child.join()
    except PieError as error:
        return str(error)
    return "nobody told it to"
