# /// inferlet
# description = "Answer from a long text of which only summaries, the chunks that matter and the last tokens are seen."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.text]
# default = """
# Anna has a hammer. Ben has a kite. Clara has a lamp. David has a drum. Emma has a boat. Felix has a ring. \
# Grace has a horse. Hugo has a book. Iris has a mirror. Jack has a ladder. Kate has a bell. Leo has a coat."""
# help = "The text."
# [flags.question]
# default = "What does Grace have?"
# help = "What to ask about it."
# [flags.chunk]
# default = 2
# help = "Sentences in a chunk."
# [flags.selected]
# default = 1
# help = "How many chunks the question and the answer see whole."
# [flags.summary]
# default = 1
# help = "How many tokens at the end of a chunk are its summary."
# [flags.window]
# default = 32
# help = "How many of the last tokens the question and the answer see."
# [flags.max_tokens]
# default = 16
# help = "The most tokens of the answer."
# ///
"""Hierarchical attention: summaries of chunks, selected chunks and a window, as in NSA (Yuan et al. 2025, section 3.3).

The tokens of a chunk see their own chunk and the summaries of those before it. The question and the answer see all
summaries, the selected chunks and the last `window` tokens. The pages of which none of that is seen are freed.

Faithful: the three branches of the pattern, and original positions. Simplified: one attention over their union, not
three that are gated. NSA learns to compress a chunk; here its last tokens, which have seen all of it, stand for it
(as landmark tokens do, Mohtashami and Jaggi 2023). NSA selects by attention scores, for each token anew; no call
tells those, so chunks are selected once, by the words that they share with the question, rare ones counting more.
"""

import json
import math
import re
from itertools import accumulate, chain, pairwise

from inferlet import ArgumentError, debug_query, flags, get_auto_model, max_tokens, tokenize


def hierarchy(chunks, selected, summary, window):
    """The pattern. chunks: ranges of positions, from 0 on; selected: numbers of those that are seen whole."""
    summaries = [chunk[-summary:] for chunk in chunks]
    inside = [[*summaries[:number], chunk] for number, chunk in enumerate(chunks) for _ in chunk]
    whole = [chunks[number] for number in selected]

    def sees(position):
        if position < len(inside):
            return inside[position]
        return [*summaries, *whole, range(max(position - window + 1, 0), position + 1)]

    return sees


async def main():
    options = flags()
    for name, least in (("chunk", 1), ("selected", 0), ("summary", 1), ("window", 1)):
        if options[name] < least:
            raise ArgumentError(f"--{name} {options[name]}: there must be {least} at least")
    chunks = split(options["text"], options["chunk"])
    if not chunks:
        raise ArgumentError("--text is empty: there is nothing to select from")
    selected = select(chunks, options["question"], options["selected"])
    with get_auto_model().create_context() as context:
        tokens = [tokenize(context.queue, chunk) for chunk in chunks]
        ranges = [range(*ends) for ends in pairwise(accumulate(map(len, tokens), initial=0))]
        context.attention = hierarchy(ranges, selected, options["summary"], options["window"])
        context.fill_tokens(chain(*tokens))
        await context.fill(f"\nQuestion: {options['question']}\nAnswer:")
        context.drop_masked_pages()
        seen = len(set().union(*context.attention(len(context.tokens) - 1)))
        held = json.loads(debug_query(context.queue, "space"))["kvpage"]
        print(f"[sees {seen} of {len(context.tokens)} tokens, {held} pages; selected: {[chunks[n] for n in selected]}]")
        print((await context.generate(stop=max_tokens(options["max_tokens"]))).strip())


def split(text, count):
    """The text in chunks of `count` sentences."""
    sentences = re.findall(r"[^.!?\n]+[.!?\n]*\s*", text.strip())
    return ["".join(sentences[at : at + count]) for at in range(0, len(sentences), count)]


def select(chunks, question, count):
    """Numbers of the `count` chunks that share the rarest words with the question."""
    words = [set(re.findall(r"\w+", chunk.lower())) for chunk in chunks]
    asked = set(re.findall(r"\w+", question.lower()))
    rarity = {word: math.log(len(chunks) / sum(word in found for found in words)) for word in set().union(*words)}
    scores = [sum(rarity[word] for word in asked & found) for found in words]
    return sorted(sorted(range(len(chunks)), key=lambda number: -scores[number])[:count])
