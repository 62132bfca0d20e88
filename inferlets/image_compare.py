# /// inferlet
# description = "Questions about two pictures, which are seen once: for this program and for later ones."
# traits = ["input_text", "tokenize", "output_text", "input_image"]
# [flags.questions]
# default = """
# What is different?
# Are the pictures the same?
# Describe the second picture."""
# help = "Questions, one a line, each asked about the same two pictures."
# [flags.max_tokens]
# default = 64
# help = "The most tokens of an answer."
# [flags.keep]
# default = 0.0
# help = "Seconds for which later programs find the pictures; 0 withdraws them at the end."
# ///
"""Comparing pictures: the keys and values of both are computed once, published, and shared by all questions.

The prefix of the prompts, two pictures and what the chat template writes before them, is exported under a hash of the
model and the files. A program that finds it imports the pages and neither decodes nor sees the pictures. Each question
is asked in a fork of its own, all at once, so that their tokens share batches (prefix caching with images: vLLM's
multi-modal hashes, SGLang's RadixAttention, Zheng et al. 2024).
"""

import asyncio
from base64 import b64decode
from contextlib import suppress
from hashlib import sha256

from inferlet import (
    ArgumentError,
    Context,
    HandleError,
    flags,
    get_auto_model,
    image_placeholder,
    max_tokens,
    measure_img,
    receive_blob,
    release_kvpage,
    render_image_turn,
    tokenize,
)

EXAMPLES = (
    "iVBORw0KGgoAAAANSUhEUgAAAGAAAABgAgMAAACf9p+rAAAACVBMVEX////cKCgyUNydq2RIAAAAlUlEQVR42u2TMQ7CMBAEJ6ekoXLDf/wEihQ8"
    "jx4KnuAnuY+VUMRG4FykIFlUN8XqrNXtbWMwDKMdHcDZ38v7dANgvgoweMbNhgAuL9ZG54GLYvSQpTLcu0R9Q0XAA0U/jRzifojaM3LRvkHUP4y0"
    "DqlB1LIOcbsRgKLHbkSgBH4ZSWuLwBKAp1Y3KkkIMAUe9osNowUvIJwVOmocKdYAAAAASUVORK5CYII=",
    "iVBORw0KGgoAAAANSUhEUgAAAGAAAABgAgMAAACf9p+rAAAACVBMVEX///8ooDzcKCizDzyNAAAAk0lEQVR42u2TMQrDMAxFXwSB0FN47mkylY45"
    "io7SsUMP5VMUT2kH29DWCiRgOukNssxHXx+DwXGcfgwAZ73U+zgD8HoIcFLuzYQAIR+NIArcDGGCUn6EUC2bHSYCCtT6KZSZcMBqSyhBpw5W/xBS"
    "blIHqzU3cf+zb++IQDX8EpKVFoFVgcWKGw0nBHgqV//FjtODNygGFTrfxYISAAAAAElFTkSuQmCC",
)
FORGOTTEN_S = 60.0  # after which pictures go that should be withdrawn at the end, if the program never gets there


async def main():
    options = flags()
    if options["keep"] < 0:
        raise ArgumentError(f"--keep {options['keep']}: wanted are seconds, or 0 to withdraw the pictures at the end")
    model, pictures = get_auto_model(), await two_pictures()
    placeholder = await image_placeholder(model.create_queue())
    before, between, _ = render_image_turn(model.prompt_template, "", 2, placeholder)
    name = "pictures " + sha256(repr((model.name, model.version, before, between, pictures)).encode()).hexdigest()
    prefix, found = await see(model, (before, between), pictures, name, options["keep"] or FORGOTTEN_S)
    try:
        with prefix:
            questions = options["questions"].strip().splitlines()
            answers = await asyncio.gather(*(ask(prefix, q, placeholder, options["max_tokens"]) for q in questions))
    finally:
        if options["keep"] == 0 and not found:
            with suppress(HandleError):  # somebody else withdrew it
                release_kvpage(name)
    for question, answer in zip(questions, answers, strict=True):
        print(f"{question} {answer}")
    print(f"[the pictures were {'found' if found else 'seen'}: {len(prefix.tokens)} tokens]")


async def two_pictures():
    """Those of the launch, or the examples."""
    found = []
    while (blob := receive_blob()).done:
        found.append(await blob)
    if len(found) not in (0, 2):
        raise ArgumentError(f"two pictures are compared, {len(found)} came; give --blob twice")
    return found or [b64decode(example) for example in EXAMPLES]


async def see(model, texts, pictures, name, seconds):
    """A context that holds both pictures, and whether somebody had published them."""
    context = model.create_context()
    tokens, images = [] if model.bos_token is None else [model.bos_token], []
    for text, picture in zip(texts, pictures, strict=True):
        measure = await measure_img(context.queue, picture)
        tokens += tokenize(context.queue, text)
        images.append((len(tokens), measure.embeds, measure.positions))
        tokens += [-1] * measure.embeds
    with suppress(HandleError):  # nobody has seen them, or their time is over
        found = Context.open(model, name, tokens, images=images)
        context.close()
        return found, True
    for text, picture in zip(texts, pictures, strict=True):
        await context.fill(text)
        await context.fill_image(picture)
    with suppress(ArgumentError):  # somebody was faster
        context.export(name, seconds)
    return context, False


async def ask(prefix, question, placeholder, most):
    """The answer to a question about the pictures of a prefix."""
    *_, rest = render_image_turn(prefix.model.prompt_template, question, 2, placeholder)
    with prefix.fork() as context:
        await context.fill(rest)
        return await context.generate(stop=max_tokens(most))
