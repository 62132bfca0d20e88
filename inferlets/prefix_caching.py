# /// inferlet
# description = "Answer questions that begin alike: the prefix is computed once, for this program and later ones."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.prefix]
# default = "Anna has a hammer. Ben has a kite. Clara has a lamp. David has a drum. Emma has a boat."
# help = "What all prompts begin with."
# [flags.questions]
# default = """
# What does Anna have?
# What does David have?
# What does Emma have?"""
# help = "Questions, one a line, each asked after the prefix alone."
# [flags.max_tokens]
# default = 16
# help = "The most tokens of an answer."
# [flags.keep]
# default = 0.0
# help = "Seconds for which later programs find the prefix; 0 withdraws it at the end."
# ///
"""Prefix caching as a program: the keys and values of a shared prefix are published, and found again by their content.

What vLLM (Kwon et al. 2023, section 4.4) and SGLang (RadixAttention, Zheng et al. 2024) have built in. The pages are
exported under a hash of the model and the tokens, so a name cannot stand for something else. Whoever finds it imports
the pages, read-only, and computes the rest of its prompt alone; of the last page, if it is not full, it gets a copy.

Faithful: nothing is approximated, for keys and values depend on the tokens before them alone. Simplified: the prefix
is given, not looked for among all prompts in a tree; it goes by age, not by use.
"""

from contextlib import suppress
from hashlib import sha256

from inferlet import (
    ArgumentError,
    Context,
    HandleError,
    exported_kvpages,
    flags,
    get_auto_model,
    max_tokens,
    release_kvpage,
)

FORGOTTEN_S = 60.0  # after which a prefix goes that should be withdrawn at the end, if the program never gets there


async def main():
    options = flags()
    prefix, keep = options["prefix"], options["keep"]
    if not prefix:
        raise ArgumentError("--prefix is empty: there is nothing to share")
    if keep < 0:
        raise ArgumentError(f"--keep {keep}: wanted are seconds, or 0 to withdraw the prefix at the end")
    model, exported = get_auto_model(), set()
    try:
        for question in options["questions"].strip().splitlines():
            context, found = await start(model, prefix, keep or FORGOTTEN_S, exported)
            with context:
                await context.fill(f"\nQuestion: {question}\nAnswer:")
                prompt = len(context.tokens)
                answer = await context.generate(stop=max_tokens(options["max_tokens"]))
            print(f"{question}{answer} [computed {prompt - found} of {prompt} tokens]")
    finally:
        for name in exported if keep == 0 else ():
            with suppress(HandleError):  # somebody else withdrew it
                release_kvpage(name)


async def start(model, prefix, seconds, exported):
    """A context that holds the prefix, and how many of its tokens were found."""
    context = model.create_context()
    await context.fill(prefix)
    tokens = list(context.tokens)
    if len(tokens) >= model.max_position:
        raise ArgumentError(f"--prefix has {len(tokens)} tokens, and the model {model.max_position} positions in all")
    name = "prefix " + sha256(repr((model.name, model.version, tokens)).encode()).hexdigest()
    with suppress(HandleError):  # nobody has computed it, or its time is over
        found = Context.open(model, name, tokens)
        context.close()
        return found, len(tokens)
    try:
        context.export(name, seconds)
        exported.add(name)
    except ArgumentError:
        if all(export.name != name for export in exported_kvpages()):
            raise
    return context, 0  # of its own pages, if somebody was faster
