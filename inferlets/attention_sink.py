# /// inferlet
# description = "A chat without end in constant memory: every token sees the first tokens and the last ones."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.questions]
# default = """
# What is the capital of France?
# What is 7 + 5?
# What is the capital of Japan?
# Is 7 larger than 3?
# Name three colours.
# What is the capital of Peru?"""
# help = "Questions, one a line, asked one after the other in one chat."
# [flags.rounds]
# default = 2
# help = "How often to ask them all."
# [flags.max_tokens]
# default = 24
# help = "The most tokens of an answer."
# [flags.sink]
# default = 4
# help = "How many of the first tokens every token sees; with 0 it is windowed attention."
# [flags.window]
# default = 60
# help = "How many of the last tokens it sees, itself included; at least a page."
# ///
"""Attention sinks: StreamingLLM (Xiao et al., ICLR 2024), chats longer than memory and longer than the model's range.

Every token sees the first `sink` tokens, where trained models leave the attention that they have no use for, and
itself and the `window - 1` tokens before it (section 3.2). Pages that nothing sees any more are freed.

Faithful: the mask. Different: the paper keeps keys unrotated and gives them, at every step, the positions that they
have within the cache. Here keys are rotated once, when they are written, so positions are those of the text and the
distance to the sink grows; where the model's range ends, the sink stays, the last `window` tokens are run again right
behind it, as positions in the cache would have it, and the chat goes on.
"""

import json

from inferlet import ArgumentError, debug_query, detokenize, flags, get_auto_model, render_chat, roll, tokenize


def first_and_last(sink, window):
    """The pattern: the positions that the token at a position sees."""
    return lambda position: [range(sink), range(position - window + 1, position + 1)]


async def main():
    options = flags()
    sink, window = options["sink"], options["window"]
    model = get_auto_model()
    check(sink, window, model)
    with model.create_context() as context:
        context.attention = first_and_last(sink, window)
        end = ()  # of the turn before
        for question in options["questions"].strip().splitlines() * options["rounds"]:
            turn = render_chat(model.prompt_template, [{"role": "user", "content": question}])
            roll(context, [*end, *tokenize(context.queue, turn)], window, sink)
            answer, end = [], model.eos_tokens[:1]
            while len(answer) < options["max_tokens"]:
                token = (await context.next_dist(1)).max_index()
                if token in model.eos_tokens:
                    break
                answer.append(token)
                roll(context, [token], window, sink)
            held = json.loads(debug_query(context.queue, "space"))["kvpage"]
            print(f"{question} {detokenize(context.queue, answer)} [{held} pages]")


def check(sink, window, model):
    """Refuse what cannot work."""
    if sink < 0:
        raise ArgumentError(f"--sink {sink}: wanted are 0 tokens or more")
    if not model.kvpage_size <= window <= (model.max_position - sink) // 2:
        raise ArgumentError(
            f"--window {window}: wanted are {model.kvpage_size} tokens, a page, at least, for less is never freed, and "
            f"{(model.max_position - sink) // 2}, half of what the sink leaves of the model's range, at most"
        )
