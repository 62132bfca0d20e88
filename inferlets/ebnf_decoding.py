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
The host follows the grammar (trait `grammar`), beside the model; this program sees text, tokens and distributions.

Drafts: where the grammar leaves no choice of text, its tokens are run in one pass. They are judged like any draft, each
by the masked distribution at its place, for the same text can be written with several tokens: so drafts change the
number of passes and nothing else.
"""

from inferlet import (
    ArgumentError,
    advance,
    alloc_matcher,
    count_allowed,
    dealloc_matcher,
    detokenize,
    flags,
    get_auto_model,
    get_next_dist_masked,
    greedy,
    rollback,
    sampling,
    set_grammar,
    tokenize,
)

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
    syntax, grammar = options["syntax"], options["grammar"]
    if not grammar:
        syntax, grammar = "json_schema", CAPITAL
    elif not syntax:
        raise ArgumentError("--grammar without --syntax: say lark, json_schema or regex")
    temperature = options["temperature"]
    sampler = greedy() if temperature == 0 else sampling(temperature, seed=options["seed"])
    with get_auto_model().create_context() as context:
        await (context.user if options["chat"] else context.fill)(options["prompt"])
        matcher = alloc_matcher(context.queue, 1)
        try:
            state = await set_grammar(context.queue, matcher, syntax, grammar)
            tokens, whole = await generate(context, matcher, state, sampler, options["max_tokens"], options["drafts"])
        finally:
            dealloc_matcher(context.queue, matcher)
        print(detokenize(context.queue, tokens))
        if not whole:
            print(f"[cut off after {len(tokens)} tokens: --max-tokens]")


async def generate(context, matcher, state, sampler, most, drafts):
    """Up to `most` tokens, and whether they are a sentence of the grammar."""
    answer = []
    most = min(most, context.model.max_position - len(context.tokens))
    while len(answer) < most:
        draft = await forced(context.queue, matcher, state, min(drafts, most - len(answer) - 1))
        tokens = verify(draft, await judge(context, matcher, draft, getattr(sampler, "top_k", 256)), sampler)
        kept = len(tokens) - 1  # of the draft; the last one is the sampler's
        context.truncate(len(context.tokens) - len(draft) + kept)
        if len(draft) > kept:
            rollback(context.queue, matcher, len(draft) - kept)
        if tokens[-1] in context.model.eos_tokens:
            return answer + tokens[:-1], True
        answer += tokens
        context.fill_tokens(tokens[-1:])
        state = await advance(context.queue, matcher, tokens[-1])
    return answer, state.accepting


async def forced(q, matcher, state, most):
    """Tokens of the text that must follow, as far as they hold."""
    if most <= 0 or not state.forced:
        return []
    draft = tokenize(q, state.forced.decode("utf-8", "ignore"))[:most]
    return draft[: await count_allowed(q, matcher, draft)]


async def judge(context, matcher, draft, top_k):
    """Run a draft, and take it; the masked distributions before each of its tokens and behind the last."""
    context.fill_tokens(draft)
    asked = []
    for token, hidden in zip([*draft, None], context.hidden_states(len(draft) + 1), strict=True):
        asked.append(get_next_dist_masked(context.queue, hidden, matcher, top_k))
        if token is not None:
            advance(context.queue, matcher, token)
    return [await dist for dist in asked]


def verify(draft, dists, sampler):
    """What sampling token by token gives, up to the first token that was not the drafted one."""
    tokens = []
    for drafted, dist in zip([*draft, None], dists, strict=True):
        tokens.append(sampler(dist))
        if tokens[-1] != drafted:
            break
    return tokens
