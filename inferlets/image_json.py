# /// inferlet
# description = "What a picture shows, as JSON that follows a schema."
# traits = ["input_text", "tokenize", "output_text", "input_image", "grammar"]
# [flags.prompt]
# default = "Describe the picture. Answer in JSON."
# help = "What to ask about the picture."
# [flags.schema]
# default = ""
# help = "The JSON schema of the answer; without one, a list of shapes with colours and places."
# [flags.max_tokens]
# default = 128
# help = "The most tokens of the answer. One that is cut off is no JSON."
# [flags.wait]
# default = false
# help = "Wait for a picture that the client sends later, instead of taking the example."
# ///
"""Structured answers about pictures: at every step only tokens that the schema can go on with.

The picture is seen once; trait `grammar` follows the schema on the host (see `ebnf_decoding`, which also runs what is
forced as drafts). Faithful: the distribution is the model's behind picture and question, restricted to all allowed
tokens and renormalized, so that the most probable allowed token is taken, not one that happened to be among the best.
"""

import json
from base64 import b64decode

from inferlet import Grammar, PieError, flags, get_auto_model, max_tokens, receive_blob

EXAMPLE = (
    "iVBORw0KGgoAAAANSUhEUgAAAGAAAABgAgMAAACf9p+rAAAACVBMVEX////cKCgyUNydq2RIAAAAlUlEQVR42u2TMQ7CMBAEJ6ekoXLDf/wEihQ8"
    "jx4KnuAnuY+VUMRG4FykIFlUN8XqrNXtbWMwDKMdHcDZ38v7dANgvgoweMbNhgAuL9ZG54GLYvSQpTLcu0R9Q0XAA0U/jRzifojaM3LRvkHUP4y0"
    "DqlB1LIOcbsRgKLHbkSgBH4ZSWuLwBKAp1Y3KkkIMAUe9osNowUvIJwVOmocKdYAAAAASUVORK5CYII="
)
WORD = {"type": "string", "pattern": "^[a-z ]{1,24}$"}
SHAPE = {
    "type": "object",
    "properties": {"colour": WORD, "shape": WORD, "at": WORD},
    "required": ["colour", "shape", "at"],
    "additionalProperties": False,
}
SHAPES = {
    "type": "object",
    "properties": {"shapes": {"type": "array", "items": SHAPE, "maxItems": 9}},
    "required": ["shapes"],
    "additionalProperties": False,
    "x-guidance": {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False},
}


async def main():
    options = flags()
    blob = receive_blob()
    picture = await blob if options["wait"] or blob.done else b64decode(EXAMPLE)
    with get_auto_model().create_context() as context:
        await context.user(options["prompt"], images=[picture])
        grammar = Grammar("json_schema", options["schema"] or json.dumps(SHAPES))
        text = await context.generate(stop=max_tokens(options["max_tokens"]), constraints=[grammar])
    if not grammar.whole:
        raise PieError(f"the answer has over {options['max_tokens']} tokens and is not whole: {text}")
    return text
