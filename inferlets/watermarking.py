# /// inferlet
# description = "Write text with a watermark that a detector finds without the model; or look for one."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.prompt]
# default = "Name three colours."
# help = "What to answer, as a user."
# [flags.detect]
# default = ""
# help = "Look for the watermark in this text instead of writing one."
# [flags.max_tokens]
# default = 200
# help = "The most tokens to write."
# [flags.full_length]
# default = true
# help = "Write that many, and do not let the model end before."
# [flags.delta]
# default = 4.0
# help = "How much is added to the logits of green tokens; 0 writes as if there were no watermark."
# [flags.gamma]
# default = 0.25
# help = "The share of the vocabulary that is green."
# [flags.key]
# default = 15485863
# help = "The secret: who knows it can detect the watermark, and others cannot."
# [flags.temperature]
# default = 2.0
# help = "Tokens are drawn at this temperature; where the model is certain there is no room for a watermark."
# [flags.seed]
# default = 0
# help = "The same seed gives the same text."
# ///
"""A watermark for text: Kirchenbauer et al. 2023, "A Watermark for Large Language Models" (Algorithm 2, section 3.1).

The token before seeds a generator that colours a share `gamma` of the vocabulary green; green tokens get `delta` more
before the softmax. Who knows the key counts the green tokens of a text: without a watermark there are gamma * T of T,
and z = (green - gamma T) / sqrt(T gamma (1 - gamma)) is about normal; z > 4 happens once in 30,000 texts.

Faithful: the soft watermark, a list of exactly gamma |V| tokens from a hash of one token before, the z statistic, and
each pair of tokens counted once (section 4, "repeated n-grams"). Simplified: the bias is put on the 256 likeliest
tokens, which are all that are drawn from, and Python's Mersenne Twister colours, which is no cryptography.
"""

import math
import random
from itertools import pairwise

from inferlet import ArgumentError, Dist, flags, get_auto_model, max_tokens, sampling, tokenize


async def main():
    options = flags()
    model = get_auto_model()
    mark = Watermark(model.vocab_size, options["gamma"], options["delta"], options["key"])
    with model.create_context() as context:
        tokens = tokenize(context.queue, options["detect"])
        if not options["detect"]:
            await context.user(options["prompt"])
            constraints = [without(model.eos_tokens)] if options["full_length"] else []
            constraints.append(lambda dist, _: mark.biased(dist, context.tokens[-1]))
            sampler = sampling(options["temperature"], seed=options["seed"])
            text = await context.generate(sampler, max_tokens(options["max_tokens"]), constraints)
            print(text)
            tokens = tokenize(context.queue, text)  # a detector has only the text
    green, counted = mark.count(tokens)
    z = mark.z(green, counted)
    verdict = "watermarked" if z > 4 else "no watermark found"
    print(f"[{green} of {counted} pairs are green, z = {z:.2f}: {verdict}]")


class Watermark:
    """The colours of a vocabulary."""

    def __init__(self, vocab_size, gamma, delta, key):
        if not 0 < gamma < 1 or not 0 <= delta < math.inf:
            raise ArgumentError(f"0 < gamma < 1 and delta >= 0 are wanted, got {gamma} and {delta}")
        self.vocab_size, self.gamma, self.delta, self.key = vocab_size, gamma, delta, key
        self.lists = {}

    def green(self, before):
        """The green tokens behind a token."""
        if before not in self.lists:
            colours = random.Random(f"{self.key} {before}")
            self.lists[before] = set(colours.sample(range(self.vocab_size), int(self.gamma * self.vocab_size)))
        return self.lists[before]

    def biased(self, dist, before):
        """A distribution with `delta` added to the logits of the green tokens."""
        if self.delta == 0:
            return dist
        green, factor = self.green(before), math.exp(self.delta)
        weights = [p * factor if token in green else p for token, p in zip(dist.ids, dist.probs, strict=True)]
        total = sum(weights) + dist.rest
        order = sorted(range(len(weights)), key=weights.__getitem__, reverse=True)
        return Dist([dist.ids[at] for at in order], [weights[at] / total for at in order], dist.rest / total)

    def count(self, tokens):
        """How many different pairs of tokens there are whose second one is green, and how many at all."""
        pairs = set(pairwise(tokens))
        return sum(token in self.green(before) for before, token in pairs), len(pairs)

    def z(self, green, counted):
        """How many standard deviations there are more than by chance."""
        if counted == 0:
            raise ArgumentError("a text of fewer than two tokens tells nothing")
        return (green - self.gamma * counted) / math.sqrt(counted * self.gamma * (1 - self.gamma))


def without(tokens):
    """A constraint: never one of these."""

    def constrain(dist, _):
        ids, probs = list(dist.ids), list(dist.probs)
        for token in set(tokens).intersection(ids):
            at = ids.index(token)
            del ids[at], probs[at]
        mass = sum(probs) + dist.rest
        return Dist(ids, [p / mass for p in probs], dist.rest / mass)

    return constrain
