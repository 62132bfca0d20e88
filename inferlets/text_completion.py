# /// inferlet
# description = "Complete a text, or answer a question in the model's chat format."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.prompt]
# default = "The capital of France is"
# help = "The text to complete, or the question."
# [flags.max_tokens]
# default = 32
# help = "The most tokens to generate."
# [flags.stop]
# default = ""
# help = "End after this text, should the model write it."
# [flags.chat]
# default = false
# help = "Ask the prompt as a user, in the model's chat template."
# [flags.temperature]
# default = 0.0
# help = "0 is greedy; otherwise tokens are drawn."
# [flags.top_p]
# default = 1.0
# help = "Draw among the fewest tokens whose probability reaches this."
# [flags.seed]
# default = 0
# help = "The same seed gives the same text."
# ///
"""Text completion, greedy or sampled, with the support library (the paper's first program)."""

from inferlet import any_of, ends_with, flags, get_auto_model, greedy, max_tokens, sampling


async def main():
    options = flags()
    temperature = options["temperature"]
    sampler = greedy() if temperature == 0 else sampling(temperature, top_p=options["top_p"], seed=options["seed"])
    stop = any_of(max_tokens(options["max_tokens"]), ends_with(*filter(None, [options["stop"]])))
    with get_auto_model().create_context() as context:
        await (context.user if options["chat"] else context.fill)(options["prompt"])
        async for piece in context.stream(sampler, stop, together=True):
            print(piece, end="")
    print()
