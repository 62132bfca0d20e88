"""Decoding under a grammar, against transformers' `generate` masked by the same library (llguidance), same grammar.

The schema leaves much of the text no choice, which our program runs as drafts; the regular expression leaves a choice
at every token. Asking again until an answer parses is no baseline: the bundled model never writes `"capital"` itself.
"""

import numpy as np
import torch
import transformers
from llguidance import hf
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask
from pie_traits_grammar.compiling import compile_grammar

from techniques.bench import Bench
from techniques.form import Baseline, Technique

SCHEMA = """{
    "type": "object",
    "properties": {
        "capital": {"type": "string", "pattern": "^[A-Z][a-z]+$"},
        "latitude": {"type": "number"},
        "longitude": {"type": "number"}
    },
    "required": ["capital", "latitude", "longitude"],
    "additionalProperties": false,
    "x-guidance": {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": false}
}"""
COUNTRIES = ("France", "Japan", "Peru", "Iceland")
SENTENCES = ("the old sailor reads a letter near the harbor", "a young painter draws the silent river at night")
TOKENS = 64


class Task:
    """A grammar and prompts, of which each client asks another."""

    def __init__(self, syntax: str, grammar: str, prompts: list[str]) -> None:
        self.syntax, self.grammar, self.prompts = syntax, grammar, prompts

    def asked(self, clients: int) -> list[str]:
        return [self.prompts[number % len(self.prompts)] for number in range(clients)]

    async def ours(self, bench: Bench, clients: int) -> list[str]:
        flags = [f"--syntax={self.syntax}", f"--grammar={self.grammar}", f"--max-tokens={TOKENS}"]
        told = await bench.run("ebnf_decoding", [[f"--prompt={prompt}", *flags] for prompt in self.asked(clients)])
        return [text.removesuffix("\n") for text in told]

    async def generate(self, bench: Bench, clients: int) -> list[str]:
        return bench.generate(self.asked(clients), TOKENS, logits_processor=[Masked(self, bench, clients)])


class Masked(transformers.LogitsProcessor):  # type: ignore[misc]
    """Leaves each row the tokens that its matcher allows."""

    def __init__(self, task: Task, bench: Bench, rows: int) -> None:
        tokenizer = hf.from_tokenizer(bench.tokenizer)
        first = compile_grammar(tokenizer, task.syntax, task.grammar)
        self.matchers = [first, *(first.deep_copy() for _ in range(rows - 1))]
        self.end = bench.tokenizer.eos_token_id
        self.ended = [False] * rows
        self.bits = allocate_token_bitmask(rows, bench.transformer.config.vocab_size)
        self.started = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        last = input_ids[:, -1].tolist()
        for row, matcher in enumerate(self.matchers):
            if self.started and not self.ended[row]:
                self.ended[row] = last[row] == self.end
                matcher.consume_token(last[row])
            if not self.ended[row]:
                fill_next_token_bitmask(matcher, self.bits, row)
        self.started = True
        allowed = np.unpackbits(self.bits.view(np.uint8), axis=1, bitorder="little")[:, : scores.shape[1]]
        return scores.masked_fill(torch.from_numpy(allowed) == 0, -torch.inf)


TASKS = {
    "JSON schema": Task("json_schema", SCHEMA, [f"Country: {name}\nJSON:" for name in COUNTRIES]),
    "regular expression": Task("regex", "( [a-z]+)+", [f"Text: {text}\nCopy:" for text in SENTENCES]),
}
TECHNIQUES = [
    Technique(f"EBNF decoding, {name}", task.ours, {"transformers, llguidance": Baseline(task.generate)})
    for name, task in TASKS.items()
]
