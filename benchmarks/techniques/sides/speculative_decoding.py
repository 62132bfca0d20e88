"""Speculation on a copying and on an editing task, against transformers' prompt lookup and our plain completion."""

from techniques.bench import Bench
from techniques.form import Baseline, Side, Technique

SAILOR = "the old sailor reads a letter near the silent harbor and the young painter draws the same harbor"
TASKS = {"copy": f"Repeat: {SAILOR} while {SAILOR}", "edit": f"Replace harbor with market: {SAILOR}"}
TOKENS = 128


def ours(question: str) -> Side:
    async def side(bench: Bench, clients: int) -> list[str]:
        flags = [f"--prompt={question}", f"--max-tokens={TOKENS}"]
        return [text.rpartition("\n[")[0] for text in await bench.run("speculative_decoding", [flags] * clients)]

    return side


def plain(question: str) -> Side:
    async def side(bench: Bench, clients: int) -> list[str]:
        return await bench.complete([question] * clients, TOKENS, "--chat")

    return side


def transformers(question: str) -> Side:
    """One client after the other: its prompt lookup takes no batch."""

    async def side(bench: Bench, clients: int) -> list[str]:
        prompt = [bench.chat(question)]
        return [bench.generate(prompt, TOKENS, prompt_lookup_num_tokens=10)[0] for _ in range(clients)]

    return side


TECHNIQUES = [
    Technique(
        f"speculative decoding, {task}",
        ours(question),
        {
            "transformers, prompt lookup": Baseline(transformers(question)),
            "our plain completion": Baseline(plain(question), aim=0.6 if task == "copy" else 1.0),
        },
    )
    for task, question in TASKS.items()
]
