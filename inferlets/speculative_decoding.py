# /// inferlet
# description = "Several tokens from one forward pass: drafts are looked up in the text so far and verified at once."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.prompt]
# default = "Repeat: the old sailor reads a letter near the silent harbor and the young painter draws the same harbor"
# help = "The question, or the text to complete."
# [flags.chat]
# default = true
# help = "Ask the prompt as a user, in the model's chat template."
# [flags.max_tokens]
# default = 128
# help = "The most tokens to generate."
# [flags.drafts]
# default = 10
# help = "The most tokens to draft for one forward pass; 0 is plain decoding."
# [flags.ngram]
# default = 3
# help = "How many of the last tokens may have to agree with the place that the draft is taken from."
# [flags.temperature]
# default = 0.0
# help = "0 is greedy; otherwise tokens are drawn."
# [flags.top_p]
# default = 1.0
# help = "Draw among the fewest tokens whose probability reaches this."
# [flags.seed]
# default = 0
# help = "The same seed gives the same text, whatever is drafted."
# ///
"""Speculative decoding with drafts from the text itself: the same tokens as plain decoding, in fewer forward passes.

Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding" (Algorithm 1), and Chen et al. 2023,
"Accelerating Large Language Model Decoding with Speculative Sampling"; drafts by prompt
lookup (Saxena 2023).

Faithful: one pass judges the whole draft and the pages of what was rejected are dropped. The papers accept a drafted
token with probability min(1, p/q) and draw from norm(max(0, p - q)) otherwise. A lookup is certain of its draft, q = 1,
so that this amounts to drawing from p and going on in the draft if the draw is the drafted token. Each token takes one
draw from its own distribution, as in plain sampling: a seed gives the very text that it gives without drafts.
Simplified: there is no draft model, and a draft is as long as the flag says.
"""

from inferlet import (
    ArgumentError,
    TextDecoder,
    detokenize,
    flags,
    get_auto_model,
    greedy,
    prompt_lookup,
    sampling,
    speculate,
)


async def main():
    options = flags()
    temperature = options["temperature"]
    sampler = greedy() if temperature == 0 else sampling(temperature, top_p=options["top_p"], seed=options["seed"])
    drafter = prompt_lookup(options["drafts"], options["ngram"])
    with get_auto_model().create_context() as context:
        await (context.user if options["chat"] else context.fill)(options["prompt"])
        room = context.model.max_position - len(context.tokens)
        if room <= 0:
            raise ArgumentError(
                f"the prompt fills the model's range of {context.model.max_position} tokens; shorten it"
            )
        decoder = TextDecoder(lambda ids: detokenize(context.queue, list(ids)))
        passes, count = 0, 0
        async for tokens in speculate(context, drafter, sampler, min(options["max_tokens"], room)):
            passes, count = passes + 1, count + len(tokens)
            print("".join(map(decoder.add, tokens)), end="")
        print(decoder.flush())
        print(f"[{count} tokens in {passes} forward passes]")
