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
# ///
"""Graph of thoughts (Besta et al. 2024, arXiv 2308.09687) on its first task, sorting digits that repeat.

The graph of operations is theirs: split; generate, a sorted list for each part; aggregate, in pairs, until one list is
left; and on every draft score and, while there are errors, improve, keeping the better. The score is theirs, too: pairs
out of order, and digits too many or too few. What does not depend on each other runs side by side, and an improvement
goes on from the pages of its prompt. Simpler than there: one greedy draft per operation instead of several samples.
"""

import asyncio
from collections import Counter
from itertools import pairwise

from inferlet import ArgumentError, flags, get_auto_model, max_tokens


async def main():
    options = flags()
    digits, part, attempts = options["digits"].replace(",", " ").split(), options["part"], options["attempts"]
    if not digits or any(len(digit) != 1 or digit not in "0123456789" for digit in digits):
        raise ArgumentError(f"--digits {options['digits']!r}: single digits with spaces between are wanted")
    if part < 1 or attempts < 0:
        raise ArgumentError(f"--part {part} must be at least 1 and --attempts {attempts} at least 0")
    model = get_auto_model()
    parts = [digits[start : start + part] for start in range(0, len(digits), part)]
    print(f"{len(digits)} digits in {len(parts)} parts")
    lists = await side_by_side(sort(model, each, attempts) for each in parts)
    while len(lists) > 1:
        pairs = [lists[start : start + 2] for start in range(0, len(lists), 2)]
        lists = await side_by_side(merge(model, pair, attempts) for pair in pairs)
    print(f"Sorted: {' '.join(lists[0])}")
    print(f"Errors: {errors(digits, lists[0])}")


async def side_by_side(operations):
    """The lists that come out of operations of one level, after telling about each."""
    done = await asyncio.gather(*operations)
    for _, told in done:
        print(told)
    return [best for best, _ in done]


async def sort(model, digits, attempts):
    return await thought(model, f"Sort: {' '.join(digits)}\nSorted:", digits, attempts)


async def merge(model, lists, attempts):
    """One list of two; a list without a partner stays."""
    if len(lists) == 1:
        return lists[0], f"Keep: {' '.join(lists[0])}"
    one, other = lists
    return await thought(model, f"Merge: {' '.join(one)} and {' '.join(other)}\nMerged:", one + other, attempts)


async def thought(model, prompt, given, attempts):
    """What the model answers, corrected while there are errors: the best draft as digits, and what to tell of it."""
    with model.create_context() as context:
        await context.fill(prompt)
        start, longest = len(context.tokens), 2 * len(given) + 8
        best, drafts = (await context.generate(stop=max_tokens(longest))).split(), 0
        while errors(given, best) and drafts < attempts:
            context.truncate(start)
            await context.fill(f" {' '.join(best)}\nImproved:")
            draft, drafts = (await context.generate(stop=max_tokens(longest))).split(), drafts + 1
            best = min(best, draft, key=lambda each: errors(given, each))
    task, answer = prompt.splitlines()
    corrected = f" after {drafts} correction{'s' * (drafts > 1)}" if drafts else ""
    return best, f"{task}\n  {answer} {' '.join(best)} ({errors(given, best)} errors{corrected})"


def errors(given, answer):
    """Neighbours out of order, and how many of each digit are too many or too few."""
    disorder = sum(one > other for one, other in pairwise(answer))
    lost, added = Counter(given), Counter(answer)
    return disorder + (lost - added).total() + (added - lost).total()
