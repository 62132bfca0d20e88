# /// inferlet
# description = "Generate text that cannot leave a grammar: EBNF, a JSON schema or a regular expression."
# traits = ["input_text", "tokenize", "output_text", "grammar"]
# [flags.prompt]
# default = "Country: France\nJSON:"
# help = "What stands before the text."
# [flags.chat]
# default = false
# help = "Ask the prompt as a user, in the model's chat template."
# [flags.syntax]
# default = ""
# help = "What the grammar is written in: lark (EBNF), json_schema or regex. Without a grammar it need not be said."
# [flags.grammar]
# default = ""
# help = "The grammar; without one, a JSON schema for a capital with its coordinates."
# [flags.max_tokens]
# default = 64
# help = "The most tokens to generate. Text that is cut off is no sentence of the grammar."
# [flags.temperature]
# default = 0.0
# help = "0 is greedy; otherwise tokens are drawn, among those that are allowed."
# [flags.seed]
# default = 0
# help = "The same seed gives the same text."
# [flags.drafts]
# default = 16
# help = "The most tokens of forced text to run in one forward pass; 0 runs every token alone."
# ///
"""Grammar-constrained decoding: at every step only tokens that some sentence of the grammar can go on with.

Willard and Louf 2023, "Efficient Guided Generation for Large Language Models"; Beurer-Kellner et al. 2024, "Guiding
LLMs The Right Way" (masks are complete here, so that no token the model prefers is lost to tokenization, and what is
forced is run as a draft). Faithful: the distribution is the model's, restricted to all allowed tokens and renormalized.

The server follows the grammar (trait `grammar`) and, where the model has trait `decode_guided`, draws the tokens, too;
else the support library asks for each distribution. Where the grammar leaves no choice of text, it runs the tokens of
that text in one pass. They are judged like any draft, each by the masked distribution at its place, for the same text
can be written with several tokens: so drafts change the number of passes and nothing else.
"""

from inferlet import ArgumentError, Grammar, flags, get_auto_model, greedy, max_tokens, sampling

CAPITAL = """{
    "type": "object",
    "properties": {
        "capital": {"type": "string", "pattern": "^[A-Z][a-z]+$"},
        "latitude": {"type": "number"},
        "longitude": {"type": "number"}
    },
    "required": ["capital", "latitude", "longitude"],
    "additionalProperties": false,
    "x-guidance": {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": false}
}"""


async def main():
    options = flags()
    syntax, text = options["syntax"], options["grammar"]
    if not text:
        syntax, text = "json_schema", CAPITAL
    elif not syntax:
        raise ArgumentError("--grammar without --syntax: say lark, json_schema or regex")
    temperature = options["temperature"]
    sampler = greedy() if temperature == 0 else sampling(temperature, seed=options["seed"])
    grammar = Grammar(syntax, text, options["drafts"])
    with get_auto_model().create_context() as context:
        await (context.user if options["chat"] else context.fill)(options["prompt"])
        start = len(context.tokens)
        print(await context.generate(sampler, max_tokens(options["max_tokens"]), [grammar]))
        if not grammar.whole:
            print(f"[cut off after {len(context.tokens) - start} tokens: --max-tokens]")
