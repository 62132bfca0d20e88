# /// inferlet
# description = "Jacobi decoding: one forward pass corrects a whole block of guessed tokens, until it stands still."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.prompt]
# default = "Repeat: the old sailor reads a letter near the silent harbor"
# help = "The question, or the text to complete."
# [flags.chat]
# default = true
# help = "Ask the prompt as a user, in the model's chat template."
# [flags.max_tokens]
# default = 64
# help = "The most tokens to generate."
# [flags.block]
# default = 8
# help = "How many tokens one pass works on; 1 is plain greedy decoding."
# [flags.lookup]
# default = true
# help = "Guess what followed the last tokens before, if they stood in the text; otherwise the last token again."
# ///
"""Jacobi decoding: greedy decoding as a system of equations, solved by fixed-point iteration on a block of tokens.

Santilli et al. 2023, "Accelerating Transformer Inference for Translation via Parallel Decoding" (PGJ).

Each pass replaces every token y_i of the block by the model's best token after y_1..y_(i-1). The first one is right
then, and so is each that stands behind tokens which the pass did not change. Those leave the block, and their keys and
values stay. So a pass gives at least one token: the same tokens as greedy decoding in never more passes. How many
fewer is the model's affair; without training for it (Kou et al. 2024, CLLMs) it is seldom half.

Faithful: the iteration, the proof by standing still, the end at the model's end of an answer. Different: the paper
finishes a block before it starts the next; here new guesses come in at its end as soon as tokens leave it (as in
lookahead decoding, Fu et al. 2024). The paper pads where it knows nothing; here the guess is what followed the last
tokens when they stood in the text before, then what the pass before found, then the last token again.
"""

from itertools import takewhile

from inferlet import ArgumentError, TextDecoder, detokenize, flags, get_auto_model, prompt_lookup


async def main():
    options = flags()
    if options["block"] < 1:
        raise ArgumentError(f"--block {options['block']}: a block has at least 1 token")
    with get_auto_model().create_context() as context:
        await (context.user if options["chat"] else context.fill)(options["prompt"])
        room = context.model.max_position - len(context.tokens)
        if room <= 0:
            raise ArgumentError(
                f"the prompt fills the model's range of {context.model.max_position} tokens; shorten it"
            )
        drafter = prompt_lookup(options["block"] - 1 if options["lookup"] else 0)
        decoder = TextDecoder(lambda ids: detokenize(context.queue, list(ids)))
        passes, count = 0, 0
        async for tokens in iterate(context, drafter, options["block"], min(options["max_tokens"], room)):
            passes, count = passes + 1, count + len(tokens)
            print("".join(map(decoder.add, tokens)), end="")
        print(decoder.flush())
        print(f"[{count} tokens in {passes} forward passes]")


async def iterate(context, drafter, block, limit):
    """Generate up to `limit` tokens, or to the model's end of an answer; yields those that each pass has proven."""
    ends, guess = context.model.eos_tokens, []
    while limit > 0:
        size = min(block, limit)
        draft = list(drafter(context.tokens))
        guess = (draft + guess[len(draft) :])[: size - 1]
        guess += (guess or context.tokens)[-1:] * (size - 1 - len(guess))
        context.fill_tokens(guess)
        found = [dist.max_index() for dist in await context.next_dists(size, 1)]  # y_1..y_size
        count = proven(guess, found)
        tokens = list(takewhile(lambda token: token not in ends, found[:count]))
        ended = len(tokens) < count
        context.truncate(len(context.tokens) - len(guess) + min(len(tokens), count - 1))
        context.fill_tokens(tokens[count - 1 :])
        yield tokens
        if ended:
            return
        guess = found[count:]
        limit -= count


def proven(guess, found):
    """How many tokens greedy decoding would give, too: those before and at the first change."""
    return next((place for place, token in enumerate(guess, 1) if found[place - 1] != token), len(found))
