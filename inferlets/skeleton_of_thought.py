# /// inferlet
# description = "Skeleton of thought: outline an answer, then write all its points at the same time."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.question]
# default = "Give an outline in 5 points about honey bees."
# help = "What to outline; the model numbers its points."
# [flags.points]
# default = 8
# help = "The most points to write."
# [flags.drafts]
# default = 4
# help = "How many tokens to look up in the text for one pass; 0 is plain decoding, of the same text."
# [flags.sequential]
# default = false
# help = "Have the points written one after the other in one answer, to compare with."
# ///
"""Skeleton of thought (Ning et al. 2024, arXiv 2307.15337): a skeleton first, then its points in parallel.

The question and the skeleton are computed once; each point is a fork that is asked to write this point only, and all
forks decode side by side, so that the answer takes as many steps as its longest point and not as all of them together.
A point says again what stands in its title, so tokens behind two known ones are looked up and judged several at once
(`prompt_lookup`).
The paper's router, which decides for which questions this is sensible, is left out.
"""

import asyncio
import re

from inferlet import ArgumentError, PieError, flags, get_auto_model, max_tokens, prompt_lookup

POINT = re.compile(r"(\d+)\. (.+)")
LONGEST_SKELETON, LONGEST_POINT = 200, 100  # tokens


async def main():
    options = flags()
    if options["points"] < 1:
        raise ArgumentError(f"--points {options['points']}: at least one is wanted")
    drafter = prompt_lookup(options["drafts"], shortest=2)
    with get_auto_model().create_context() as context:
        points = (await outline(context, options["question"], drafter))[: options["points"]]
        write = one_after_the_other if options["sequential"] else side_by_side
        for (number, title), text in zip(points, await write(context, points, drafter), strict=True):
            print(f"{number}. {title}\n   {text}")


async def outline(context, question, drafter):
    """The numbered points, after which the context is open for the next turn."""
    await context.user(question)
    skeleton = await context.generate(stop=max_tokens(LONGEST_SKELETON), drafter=drafter)
    points = [match.groups() for line in skeleton.splitlines() if (match := POINT.fullmatch(line))]
    if not points:
        raise PieError(
            f"asked {question!r}, the model gives no points: {skeleton!r}; ask for an outline in some points"
        )
    context.fill_tokens(context.model.eos_tokens[:1])
    return points


async def side_by_side(context, points, drafter):
    return await asyncio.gather(*(expand(context, number, drafter) for number, _ in points))


async def expand(context, number, drafter):
    with context.fork() as branch:
        await branch.user(f"Expand point {number}.")
        return await branch.generate(stop=max_tokens(LONGEST_POINT), drafter=drafter)


async def one_after_the_other(context, points, drafter):
    await context.user("Expand all points.")
    text = await context.generate(stop=max_tokens(LONGEST_POINT * len(points)), drafter=drafter)
    return (text.splitlines() + [""] * len(points))[: len(points)]
