"""What the package registers for handlers: one for any backend. Nothing heavy is imported before a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from pie_core import ANY, Foundation, HandlerSpec, hookimpl


@hookimpl
def pie_handlers() -> Sequence[HandlerSpec]:
    return [HandlerSpec("grammar>=1,<2", ANY, _build)]


def _build(ground: Foundation) -> object:
    from pie_traits_grammar.handler import GrammarHandler

    return GrammarHandler(ground)
