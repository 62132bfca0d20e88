# /// inferlet
# description = "Describe a picture, or answer a question about it."
# traits = ["input_text", "tokenize", "output_text", "input_image"]
# [flags.prompt]
# default = "Describe the picture."
# help = "What to ask about the picture."
# [flags.chat]
# default = true
# help = "Ask as a user, in the model's chat template; otherwise the prompt follows the picture as it is."
# [flags.max_tokens]
# default = 64
# help = "The most tokens of the answer."
# [flags.wait]
# default = false
# help = "Wait for pictures that the client sends later, instead of taking the example."
# ///
"""Image description: a picture is seen once, and text is generated behind it (LLaVA, Liu et al. 2023).

Pictures are blobs of the launch (`pie-core run image_description --blob picture.png`): one answer for each, all about
the same question. Without any, it describes one that it brings: a red circle left of a blue square.
"""

from base64 import b64decode

from inferlet import flags, get_auto_model, max_tokens, receive_blob

EXAMPLE = (
    "iVBORw0KGgoAAAANSUhEUgAAAGAAAABgAgMAAACf9p+rAAAACVBMVEX////cKCgyUNydq2RIAAAAlUlEQVR42u2TMQ7CMBAEJ6ekoXLDf/wEihQ8"
    "jx4KnuAnuY+VUMRG4FykIFlUN8XqrNXtbWMwDKMdHcDZ38v7dANgvgoweMbNhgAuL9ZG54GLYvSQpTLcu0R9Q0XAA0U/jRzifojaM3LRvkHUP4y0"
    "DqlB1LIOcbsRgKLHbkSgBH4ZSWuLwBKAp1Y3KkkIMAUe9osNowUvIJwVOmocKdYAAAAASUVORK5CYII="
)


async def main():
    options = flags()
    model = get_auto_model()
    for picture in await pictures(options["wait"]):
        with model.create_context() as context:
            if options["chat"]:
                await context.user(options["prompt"], images=[picture])
            else:
                await context.fill_image(picture)
                await context.fill(options["prompt"])
            async for piece in context.stream(stop=max_tokens(options["max_tokens"]), together=True):
                print(piece, end="")
        print()


async def pictures(wait):
    """Those of the launch, or the next one that comes, or the example."""
    found = []
    while (blob := receive_blob()).done or (wait and not found):
        found.append(await blob)
    return found or [b64decode(EXAMPLE)]
