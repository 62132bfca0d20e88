# /// inferlet
# description = "Go on with a text in constant memory: every token sees the last few tokens only."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.prompt]
# default = "1, 2, 3"
# help = "The text to go on with; it may be longer than the window."
# [flags.max_tokens]
# default = 200
# help = "The most tokens to generate."
# [flags.window]
# default = 32
# help = "How many of the last tokens a token sees, itself included; at least a page."
# ///
"""Windowed attention: the sliding window of Longformer (Beltagy, Peters, Cohan 2020, section 3.1) and of Mistral 7B.

Every token sees itself and the `window - 1` tokens before it, in the prompt as in what is generated. A page that fell
out of the window is freed, so that memory does not grow with the text. What a token is told of the text before its
window it is told by those in the window, layer by layer.

Faithful: the mask, and positions are the original ones. Simplified: the model need not have been trained with a
window; windows are not dilated and no token is global (attention_sink keeps the first ones). Where the model's range
of positions ends, the last `window` tokens are run again from position 0, and the text goes on.
"""

import json

from inferlet import ArgumentError, TextDecoder, debug_query, detokenize, flags, get_auto_model, roll, tokenize


def last_tokens(window):
    """The pattern: the positions that the token at a position sees."""
    return lambda position: [range(position - window + 1, position + 1)]


async def main():
    options = flags()
    model, window = get_auto_model(), options["window"]
    if not model.kvpage_size <= window <= model.max_position // 2:
        raise ArgumentError(
            f"--window {window}: wanted are {model.kvpage_size} tokens, a page, at least, for less is never freed, and "
            f"{model.max_position // 2}, half the model's range, at most"
        )
    with model.create_context() as context:
        context.attention = last_tokens(window)
        roll(context, tokenize(context.queue, options["prompt"]), window)
        print(options["prompt"], end="")
        decoder = TextDecoder(lambda tokens: detokenize(context.queue, tokens))
        for _ in range(options["max_tokens"]):
            token = (await context.next_dist(1)).max_index()
            if token in model.eos_tokens:
                break
            print(decoder.add(token), end="")
            roll(context, [token], window)
        print(decoder.flush())
        held = json.loads(debug_query(context.queue, "space"))["kvpage"]
        print(f"[{held} pages for a window of {window} tokens]")
