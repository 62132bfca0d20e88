# /// inferlet
# description = "Tree of thought: search for a way to 24, breadth first; the model proposes steps and rates them."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.numbers]
# default = "1 3 4 5"
# help = "Three or four numbers from 1 to 9, each to be used once."
# [flags.breadth]
# default = 3
# help = "How many of a level's states to keep; 1 is a chain of thought."
# [flags.all]
# default = false
# help = "Show what was pruned, too."
# [flags.drafts]
# default = 3
# help = "How many tokens of a list to look up in the text for one pass; 0 is plain decoding, of the same text."
# ///
"""Tree of thought (Yao et al. 2023, arXiv 2305.10601) on its own task, a game of 24.

As there, the search is breadth-first: the model lists the next steps of each state that was kept, thinks aloud about
what each leaves and rates it `sure`, `likely` or `impossible`; the best `breadth` states go on. A state is a context
that ends in its steps so far: a branch is a fork, so that all share the pages of what they have in common. A step is
rated from the moment that its line is there, while the list goes on; a way that an earlier state finds to the same
numbers takes its place. Lists repeat themselves, so tokens are looked up and judged several at once (`prompt_lookup`).
Simpler than there: no division, one greedy rating instead of three samples, and a state rated `impossible` is always
pruned.
"""

import asyncio
import re
from collections import Counter
from dataclasses import dataclass

from inferlet import ArgumentError, Context, flags, get_auto_model, lines, max_tokens, prompt_lookup

RULES = "Use each number once with + - * to make 24.\n"
STEP = re.compile(r"\d+ [-+*] \d+ = \d+ left (\d+(?: \d+)*)")
VERDICTS = {"sure": 2, "likely": 1, "impossible": 0}
LONGEST_LIST, LONGEST_RATING = 400, 40  # tokens


@dataclass(eq=False)
class State:
    """A partial solution: its steps are the end of its context."""

    context: Context
    steps: tuple[str, ...]
    left: str
    place: tuple[int, int] = (0, 0)  # which state it branches off, and with which of its steps
    rating: asyncio.Task | None = None
    verdict: str = ""


async def main():
    options = flags()
    breadth, numbers = options["breadth"], read_numbers(options["numbers"])
    if breadth < 1:
        raise ArgumentError(f"--breadth {breadth}: keep at least one state")
    root = get_auto_model().create_context()
    await root.fill(f"{RULES}Numbers: {numbers}\n")
    level = [State(root, (), numbers)]
    while level and " " in level[0].left:
        branches = await grow(level, prompt_lookup(options["drafts"]))
        kept = prune(branches, breadth)
        report(len(level), branches, kept, options["all"])
        level = kept
    conclude(numbers, level)


def read_numbers(text):
    numbers = text.replace(",", " ").split()
    if len(numbers) not in (3, 4) or any(number not in "123456789" for number in numbers):
        raise ArgumentError(f"--numbers {text!r}: three or four numbers from 1 to 9 are wanted")
    return " ".join(sorted(numbers))


async def grow(level, drafter):
    """One branch for each state that a step of this level leads to, the first way there; all rated."""
    branches = {}
    await asyncio.gather(*(propose(number, state, branches, drafter) for number, state in enumerate(level)))
    for state in level:
        state.context.close()
    await asyncio.gather(*(branch.rating for branch in branches.values()))
    return sorted(branches.values(), key=lambda branch: branch.place)


async def propose(number, state, branches, drafter):
    """Branch off with each step that the model lists, as soon as its line is there."""
    with state.context.fork() as thought:
        await thought.fill("Steps:\n")
        listed, count = thought.stream(stop=max_tokens(LONGEST_LIST), drafter=drafter), 0
        async for line in lines(listed):
            if step := STEP.fullmatch(line):
                place, known = (number, count), branches.get(step[1])
                count += 1
                if known is None or place < known.place:
                    branch = State(state.context.fork(), (*state.steps, line), step[1], place)
                    branch.rating = asyncio.create_task(rate(branch))
                    branches[step[1]] = branch
                    if known is not None:
                        known.rating.cancel()
                        known.context.close()


async def rate(state):
    """Let the model judge a new state; what it thought on the way is taken off its context again."""
    await state.context.fill(f"{state.steps[-1]}\n")
    end = len(state.context.tokens)
    await state.context.fill("Value:")
    thought = await state.context.generate(stop=max_tokens(LONGEST_RATING))
    state.verdict = verdict_of(thought)
    state.context.truncate(end)


def verdict_of(thought):
    """The last word, `impossible` if it is no verdict."""
    last = (thought.split() or [""])[-1]
    return last if last in VERDICTS else "impossible"


def prune(branches, breadth):
    """The best `breadth`, in the order they were found in; the contexts of the others are closed."""
    best = sorted(branches, key=lambda state: -VERDICTS[state.verdict])[:breadth]
    kept = [state for state in best if VERDICTS[state.verdict] > 0]
    for state in branches:
        if state not in kept:
            state.context.close()
    return kept


def report(states, branches, kept, everything):
    counts = Counter(state.verdict for state in branches)
    rated = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    print(f"{len(branches)} branches of {states}: {rated}; kept {len(kept)}")
    for state in branches if everything else kept:
        print(f"  {'+' if state in kept else '-'} {state.verdict:10}  {'; '.join(state.steps)}")


def conclude(numbers, level):
    """Say how to make 24, once the arithmetic was checked: the model's word is not enough."""
    if not level:
        print("No way found.")
        return
    way = [step.split(" left")[0] for step in level[0].steps]
    print(f"{'Solved' if makes_24(numbers, way) else 'Wrong'}: {', '.join(way)}")


def makes_24(numbers, way):
    pool = [int(number) for number in numbers.split()]
    for step in way:
        a, sign, b, _, result = step.split()
        a, b, result = int(a), int(b), int(result)
        for number in (a, b):
            if number not in pool:
                return False
            pool.remove(number)
        if result != {"+": a + b, "-": a - b, "*": a * b}[sign]:
            return False
        pool.append(result)
    return pool == [24]
