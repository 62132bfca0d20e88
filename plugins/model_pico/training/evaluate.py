"""Held-out accuracy of a checkpoint, skill by skill, through `transformers` generate, greedily.

An item is right when every stretch the model should say is exactly what it says, `</s>` included at the end. A tool
transcript is asked stretch by stretch, with the true observations between: right only if the whole transcript is.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from corpus import arithmetic, draw, general
from corpus.countries import COUNTRIES
from corpus.example import Example, held_out, said, spans
from train import CHECKPOINT
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, logging

BATCH = 50
SAMPLED = {  # skill -> items; each is drawn from the held-out split only
    "capital_question": 200,
    "capital_json": 200,
    "nested_arithmetic": 300,
    "repeat": 200,
    "react": 200,
    "coding": 200,
    "roles": 200,
    "extract_json": 200,
    "change_case": 100,
    "spell": 100,
    "replace": 100,
    "reverse": 100,
    "rename": 100,
    "sort": 100,
    "compare": 100,
    "outline": 100,
    "remember": 100,
    "make24_steps": 100,
    "make24_value": 300,
    "recursion": 300,
    "sort_digits": 200,
    "merge_digits": 200,
    "skeleton": 200,
    "count": 100,
}


@dataclass(frozen=True)
class Question:
    """One stretch to generate: the text before it and the text wanted; `item` is the example it belongs to."""

    item: int
    before: str
    wanted: str
    last: bool


def suites(seed: int) -> Iterator[tuple[str, str, list[Example]]]:
    """Name, what is unseen, and the items."""
    rng = Random(seed)
    yield (
        "capital_completion",
        "memory: all countries",
        [_capital(country.in_sentence, country.capital) for country in COUNTRIES],
    )
    table = [
        (a, symbol, b) for symbol in "+-*" for a in range(13) for b in range(13) if symbol == "*" or max(a, b) < 10
    ]
    yield "arithmetic_tables", "memory: whole tables", [_sum(*entry) for entry in table]
    pairs = [(a, symbol, b) for symbol in "+-" for a in range(100) for b in range(100) if max(a, b) >= 10]
    unseen = [(a, symbol, b) for a, symbol, b in pairs if held_out(f"{a} {symbol} {b}")]
    yield (
        "addition",
        "pairs of operands",
        [_sum(*entry) for entry in rng.sample([e for e in unseen if e[1] == "+"], 300)],
    )
    yield (
        "subtraction",
        "pairs of operands",
        [_sum(*entry) for entry in rng.sample([e for e in unseen if e[1] == "-"], 300)],
    )
    for name, count in SAMPLED.items():
        yield (
            name,
            "country and phrasing" if "capital" in name else "whole items",
            [draw(name, rng, "held_out") for _ in range(count)],
        )
    yield "repeat_long", "30 to 60 words, unseen words", [_long_repeat(rng) for _ in range(100)]
    lists = [general.name_some(rng, "train") for _ in range(60)]
    yield "chat_and_lists", "memory", [Example(prompt, said(answer)) for prompt, answer in general.CHAT] + lists


def _capital(country: str, capital: str) -> Example:
    return Example(f"The capital of {country} is", said(f" {capital}."), chat=False)


def _sum(a: int, symbol: str, b: int) -> Example:
    answer = str(arithmetic.OPERATORS[symbol](a, b))
    if (a + b) % 2:
        return Example(f"{a} {symbol} {b} =", said(f" {answer}"), chat=False)
    return Example(f"What is {a} {symbol} {b}?", said(answer))


def _long_repeat(rng: Random) -> Example:
    while True:
        example = draw("repeat", rng, "held_out")
        if 30 <= len(example.answer[0].text.split()) <= 60:
            return example


def questions(items: list[Example]) -> list[Question]:
    found: list[Question] = []
    for number, example in enumerate(items):
        before = ""
        parts = spans(example)
        for place, span in enumerate(parts):
            if span.trained and span.text != "</s>":
                found.append(Question(number, before, span.text, last=parts[place + 1].text == "</s>"))
            before += span.text
    return found


class Checkpoint:
    def __init__(self, folder: Path, device: str) -> None:
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder).to(device)  # its generate is typed a tensor

    @torch.inference_mode()
    def answers(self, batch: list[Question]) -> list[str]:
        """Greedy continuations, as long as the longest wanted one and a little, special tokens kept."""
        longest = max(len(self.tokenizer(question.wanted).input_ids) for question in batch)
        prompts = self.tokenizer([question.before for question in batch], return_tensors="pt", padding=True)
        prompts = prompts.to(self.model.device)
        tokens = self.model.generate(**prompts, max_new_tokens=longest + 2, do_sample=False)
        return list(self.tokenizer.batch_decode(tokens[:, prompts["input_ids"].shape[1] :]))

    def wrong_items(self, items: list[Example]) -> dict[int, tuple[Question, str]]:
        """The items with a wrong stretch, each with the first one."""
        wrong: dict[int, tuple[Question, str]] = {}
        ordered = sorted(questions(items), key=lambda question: len(question.wanted))
        for start in range(0, len(ordered), BATCH):
            batch = ordered[start : start + BATCH]
            for question, answer in zip(batch, self.answers(batch), strict=True):
                wanted = question.wanted + "</s>" if question.last else question.wanted
                if not answer.startswith(wanted):
                    wrong.setdefault(question.item, (question, answer))
        return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--show", type=int, default=0, help="wrong answers to show per skill")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    checkpoint = Checkpoint(arguments.checkpoint, arguments.device)
    table = ["| skill | unseen | right | share |", "|---|---|---|---|"]
    for name, unseen, items in suites(arguments.seed):
        started = time.monotonic()
        wrong = checkpoint.wrong_items(items)
        right, share = len(items) - len(wrong), 1 - len(wrong) / len(items)
        line = {"skill": name, "right": right, "items": len(items), "share": round(share, 4)}
        print(json.dumps({**line, "seconds": round(time.monotonic() - started, 1)}), flush=True)
        for question, answer in list(wrong.values())[: arguments.show]:
            print(
                json.dumps(
                    {"before": question.before[-200:], "wanted": question.wanted, "said": answer}, ensure_ascii=False
                )
            )
        table.append(f"| {name} | {unseen} | {right}/{len(items)} | {share:.1%} |")
    print("\n".join(table))


if __name__ == "__main__":
    main()
