"""Transcripts of tool calls. What a tool says is given, never trained; a tool that fails says `error: ...`."""

from dataclasses import dataclass, field
from random import Random

from corpus.example import Span, Split
from corpus.words import any_word


@dataclass
class Transcript:
    """Collects the trained and the given stretches of one transcript, in order."""

    parts: list[Span] = field(default_factory=list)

    def call(self, thought: str, action: str, observation: str) -> None:
        self.parts.append(Span(f"Thought: {thought}\nAction: {action}\nObservation:", trained=True))
        self.parts.append(Span(f" {observation}\n", trained=False))

    def calculate(self, expression: str) -> str:
        result = eval(expression)  # our own digits and operators, nothing from outside
        value = str(int(result)) if result == int(result) else str(round(result, 2))
        self.call(f"I need to calculate {expression}.", f"calculator[{expression}]", value)
        return value

    def look_up(self, key: str, value: str) -> str:
        self.call(f"I need the {key}.", f"lookup[{key}]", value)
        return value

    def ask_clock(self, what: str, value: str) -> str:
        self.call(f"I need the {what}.", f"clock[{what}]", value)
        return value

    def answer(self, text: str) -> tuple[Span, ...]:
        self.parts.append(Span(f"Thought: I know the answer.\nAnswer: {text}", trained=True))
        return tuple(self.parts)

    def give_up(self, rng: Random, split: Split) -> tuple[Span, ...]:
        """The last call fails instead: the transcript ends with saying what could not be found."""
        said, _ = self.parts[-2:]
        self.parts[-1] = Span(f" error: {_complaint(rng, split)}\n", trained=False)
        action = said.text.partition("Action: ")[2].partition("\n")[0]
        tool, _, argument = action.removesuffix("]").partition("[")
        verb = {"calculator": "calculate", "lookup": "find the", "clock": "get the"}[tool]
        text = f"The tool failed.\nAnswer: I could not {verb} {argument}."
        self.parts.append(Span(f"Thought: {text}", trained=True))
        return tuple(self.parts)


def _complaint(rng: Random, split: Split) -> str:
    """What a tool, or the network before it, may say of its failure."""
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(
            ["no such key", "unknown key", "not found", "no answer", "time out", "too slow", "no connection"]
        )
    if kind < 0.5:
        return rng.choice(["status {n}", "HTTP {n}", "the tool answered {n}"]).format(n=rng.randrange(400, 600))
    return " ".join(any_word(rng, split) for _ in range(rng.randrange(1, 9)))
