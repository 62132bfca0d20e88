"""The handler for any backend: that of `decode` takes the steps, plain and guided ones together."""

from __future__ import annotations

from pie_traits_decode.guiding import FollowsGuides

from pie_core import Foundation, UnsupportedError


class GuidedHandler:
    """Sees to it that the handler of `decode` asks guides; one that does not would draw what no grammar allows."""

    def __init__(self, ground: Foundation) -> None:
        decode = ground.handlers["decode"]
        if not (isinstance(decode, FollowsGuides) and decode.follows_guides):
            raise UnsupportedError(
                f"the handler of `decode`, {type(decode).__qualname__}, follows no guides (pie_traits_decode.guiding)"
            )
        self.decode_guided = ground.handlers["decode"].decode
