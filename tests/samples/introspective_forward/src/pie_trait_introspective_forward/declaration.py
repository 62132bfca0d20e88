"""What a program can call. From this the checks, the sandbox's interface and the SDK's function are derived."""

from __future__ import annotations

import msgspec
from pie_traits_text.forward import Forward

from pie_core import U32, ArgumentError, F32Array, ModelInfo, Trait


class Attention(msgspec.Struct, frozen=True):
    """What the tokens of a context got of the attention of those that ran: layers x heads x columns numbers, in order.

    The layers are those that were asked for. heads is 1 where they were added up. A column stands for a token: those
    held by `ikv`, hidden ones too, page by page, then the new ones (the columns of the mask of `forward`).
    """

    layers: U32
    heads: U32
    columns: U32
    weights: F32Array


class ForwardWithAttention(Forward):
    """`forward`, and where its tokens looked.

    layers: whose attention is wanted, counted from 0; none: that of all layers. per_head: do not add up the heads.
    The other arguments, and what becomes of pages and Embeds, are those of `forward`.

    Gives the attention weights (after the softmax), added up over the tokens of `iemb`. So the columns of a head add up
    to `len(iemb)`, but for what attention sinks of the model and tokens that see nothing leave. Errors: those of
    `forward`, a layer that is named twice; when it runs, a layer that the model does not have.
    """

    returns = Attention
    layers: list[U32] = []
    per_head: bool = False

    def prepare(self, model: ModelInfo) -> None:
        if len(set(self.layers)) < len(self.layers):
            raise ArgumentError(f"forward_with_attention: a layer is named twice in {self.layers}")
        held = tuple([page.used for page in self.ikv])  # before `okv`, which may be the same pages, is filled
        super().prepare(model)
        self.held = held


INTROSPECTIVE_FORWARD = Trait(
    name="introspective_forward",
    version="1.0.0",
    doc="A forward pass tells where its tokens looked.",
    calls=(ForwardWithAttention,),
    requires=("allocate>=1,<2", "forward>=1,<2"),
)
