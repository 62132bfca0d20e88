# /// inferlet
# description = "Beam search: the most probable continuations found by keeping the best few at each step."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.prompt]
# default = "The capital of France is"
# help = "The text to complete, or the question."
# [flags.chat]
# default = false
# help = "Ask the prompt as a user, in the model's chat template."
# [flags.width]
# default = 4
# help = "How many beams are kept; 1 is greedy."
# [flags.max_tokens]
# default = 16
# help = "The most tokens to generate."
# [flags.length_penalty]
# default = 1.0
# help = "A finished beam's log probability is divided by its length to this power: above 0, longer ones are favoured."
# [flags.early_stopping]
# default = "false"
# help = "true: stop at `width` finished beams; false: when no running one looks better; never: when none can be."
# ///
"""Beam search with a length penalty; beams share the pages of what they have in common.

Lowerre 1976 ("The Harpy Speech Recognition System") for the search; Wu et al. 2016 ("Google's Neural Machine
Translation System", section 7) for scores divided by length; stopping as Hugging Face transformers (5.24) does it,
with which sequences and scores agree.

A step looks at the best candidates of all running beams, width * (1 + end tokens) of them. Those of the first `width`
that end are finished, with the score log p / length ** penalty; the best `width` of the others run on. A beam that goes
on in several ways is forked: full pages are shared, only the partly filled one is copied. All beams run in one batch.

Simplified: no coverage penalty, and the penalty is a plain power of the length, as in transformers.
"""

import asyncio
import heapq
import math
from collections import Counter
from dataclasses import dataclass

from inferlet import ArgumentError, Context, detokenize, flags, get_auto_model


@dataclass(eq=False)
class Beam:
    """A running one: its cache, the tokens generated, and their log probability."""

    context: Context
    tokens: list[int]
    score: float


async def main():
    options = flags()
    width, stopping = options["width"], options["early_stopping"]
    if width < 1:
        raise ArgumentError(f"--width {width}: at least 1 beam is wanted")
    if stopping not in ("true", "false", "never"):
        raise ArgumentError(f"--early-stopping {stopping}: true, false or never is wanted")
    model = get_auto_model()
    context = model.create_context()
    await (context.user if options["chat"] else context.fill)(options["prompt"])
    limit = min(options["max_tokens"], model.max_position - len(context.tokens))
    if limit < 1:
        raise ArgumentError(f"no token can follow: --max-tokens is 0, or the prompt fills the {model.max_position}")
    queue = model.create_queue()
    for score, tokens in await search(context, width, limit, options["length_penalty"], stopping):
        text = detokenize(queue, [token for token in tokens if token not in model.eos_tokens])
        print(f"{score:10.5f}  {text!r}")


async def search(context, width, limit, penalty, stopping):
    """The best `width` continuations of up to `limit` tokens: (score, tokens), best first. Uses up the context."""
    ends = context.model.eos_tokens
    beams, finished = [Beam(context, [], 0.0)], []
    for length in range(1, limit + 1):
        best = await candidates(beams, max(2, 1 + len(ends)) * width)
        over = [length == limit or token in ends for _, _, token in best]
        finished += [
            (score / length**penalty, [*beam.tokens, token])
            for (score, beam, token), ended in list(zip(best, over, strict=True))[:width]
            if ended
        ]
        finished = heapq.nlargest(width, finished, key=lambda each: each[0])
        beams = advance(beams, [each for each, ended in zip(best, over, strict=True) if not ended][:width])
        if len(finished) == width and (not beams or settled(beams, finished, length, limit, penalty, stopping)):
            break
    for beam in beams:
        beam.context.close()
    return finished


async def candidates(beams, count):
    """The `count` best ways to go on, best first: (log probability, beam, token). All beams run in one batch."""
    dists = await asyncio.gather(*(beam.context.next_dist(count) for beam in beams))
    ways = (
        (beam.score + math.log(p), beam, token)
        for beam, dist in zip(beams, dists, strict=True)
        for token, p in zip(dist.ids, dist.probs, strict=True)
        if p > 0
    )
    return heapq.nlargest(count, ways, key=lambda way: way[0])


def advance(beams, chosen):
    """The beams of the next step. The last way to go on from a beam takes over its context, the others fork it."""
    left = Counter(beam for _, beam, _ in chosen)
    for beam in beams:
        if not left[beam]:
            beam.context.close()
    grown = []
    for score, beam, token in chosen:
        left[beam] -= 1
        context = beam.context.fork() if left[beam] else beam.context
        context.fill_tokens([token])
        grown.append(Beam(context, [*beam.tokens, token], score))
    return grown


def settled(beams, finished, length, limit, penalty, stopping):
    """Whether no running beam is expected to get better than the worst of the `width` finished ones."""
    if stopping == "true":
        return True
    reached = limit if stopping == "never" and penalty > 0 else length
    return beams[0].score / reached**penalty <= finished[-1][0]
