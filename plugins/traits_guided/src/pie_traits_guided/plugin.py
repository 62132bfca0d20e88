"""What the package registers for handlers: one for any backend."""

from __future__ import annotations

from collections.abc import Sequence

from pie_core import ANY, Foundation, HandlerSpec, hookimpl


@hookimpl
def pie_handlers() -> Sequence[HandlerSpec]:
    return [HandlerSpec("decode_guided>=1,<2", ANY, _build)]


def _build(ground: Foundation) -> object:
    from pie_traits_guided.handler import GuidedHandler

    return GuidedHandler(ground)
