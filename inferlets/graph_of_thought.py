# /// inferlet
# description = "Graph of thought: sort many digits; parts are sorted side by side, merged in pairs and corrected."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.digits]
# default = "4 1 9 3 9 9 5 4 6 4 8 0 2 0 6 6 2 1 8 1 3 1 1 0 2 3 1 3 0 8 7 7"
# help = "The digits to sort."
# [flags.part]
# default = 8
# help = "How many digits to sort at once."
# [flags.attempts]
# default = 2
# help = "How often to have a draft with errors corrected."
# [flags.drafts]
# default = 8
# help = "How many tokens to look up in the prompt for one pass; 0 is plain decoding, of the same text."
# ///
"""Graph of thoughts (Besta et al. 2024, arXiv 2308.09687) on its first task, sorting digits that repeat.

The graph of operations is theirs: split; generate, a sorted list for each part; aggregate, in pairs, until one list is
left; and on every draft score and, while there are errors, improve, keeping the better. The score is theirs, too: pairs
out of order, and digits too many or too few. An operation is a task that awaits those before it, so that each begins
when its own inputs are there; an improvement goes on from the pages of its prompt. What comes out of an operation
stands in its prompt, in runs, so that tokens are looked up there and judged several at once (`prompt_lookup`).
Simpler than there: one greedy draft per operation instead of several samples.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from inferlet import ArgumentError, Drafter, Model, flags, get_auto_model, max_tokens, prompt_lookup


async def main():
    options = flags()
    digits, part, attempts = options["digits"].replace(",", " ").split(), options["part"], options["attempts"]
    if not digits or any(len(digit) != 1 or digit not in "0123456789" for digit in digits):
        raise ArgumentError(f"--digits {options['digits']!r}: single digits with spaces between are wanted")
    if part < 1 or attempts < 0:
        raise ArgumentError(f"--part {part} must be at least 1 and --attempts {attempts} at least 0")
    thinker = Thinker(get_auto_model(), attempts, prompt_lookup(options["drafts"]))
    parts = [digits[start : start + part] for start in range(0, len(digits), part)]
    print(f"{len(digits)} digits in {len(parts)} parts")
    level = [asyncio.create_task(thinker.sort(each)) for each in parts]
    graph = [*level]
    while len(level) > 1:
        pairs = [level[start : start + 2] for start in range(0, len(level), 2)]
        level = [asyncio.create_task(thinker.merge(pair)) for pair in pairs]
        graph += level
    for operation in graph:
        found, told = await operation
        print(told)
    print(f"Sorted: {' '.join(found)}")
    print(f"Errors: {errors(digits, found)}")


@dataclass
class Thinker:
    """The operations. Each gives a list of digits, and what to tell of it."""

    model: Model
    attempts: int
    drafter: Drafter

    async def sort(self, digits):
        return await self.think(f"Sort: {' '.join(digits)}\nSorted:", digits)

    async def merge(self, operations):
        """One list of two, when both are there; a list without a partner stays."""
        one, *others = [found for found, _ in await asyncio.gather(*operations)]
        if not others:
            return one, f"Keep: {' '.join(one)}"
        (other,) = others
        return await self.think(f"Merge: {' '.join(one)} and {' '.join(other)}\nMerged:", one + other)

    async def think(self, prompt, given):
        """What the model answers, corrected while there are errors: the best draft."""
        with self.model.create_context() as context:
            await context.fill(prompt)
            start, stop, drafts = len(context.tokens), max_tokens(2 * len(given) + 8), 0
            best = (await context.generate(stop=stop, drafter=self.drafter)).split()
            while errors(given, best) and drafts < self.attempts:
                context.truncate(start)
                await context.fill(f" {' '.join(best)}\nImproved:")
                draft, drafts = (await context.generate(stop=stop, drafter=self.drafter)).split(), drafts + 1
                best = min(best, draft, key=lambda each: errors(given, each))
        task, answer = prompt.splitlines()
        corrected = f" after {drafts} correction{'s' * (drafts > 1)}" if drafts else ""
        return best, f"{task}\n  {answer} {' '.join(best)} ({errors(given, best)} errors{corrected})"


def errors(given, answer):
    """Neighbours out of order, and how many of each digit are too many or too few."""
    disorder = sum(one > other for one, other in pairwise(answer))
    lost, added = Counter(given), Counter(answer)
    return disorder + (lost - added).total() + (added - lost).total()
