"""What handlers have put off until somebody needs their trait, done before the first such program begins.

On a thread, for it may take seconds: only that program waits. One that needs none of it never pays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pie_core.errors import PieError, PluginError
from pie_core.registry import Realization, with_supertraits


async def warm_up(realization: Realization, traits: Iterable[str], who: str) -> None:
    """Call `warm_up` of the handlers of these traits and of all they build on. What fails is tried again next time.

    Raises what the handler raises, or `PluginError` if that is no `PieError`.
    """
    for trait in with_supertraits(traits, realization.known, who):
        if (handler := realization.cold.get(trait.name)) is None:
            continue
        try:
            await asyncio.to_thread(handler)
        except PieError:
            raise
        except Exception as error:  # of a stranger's handler
            what = f"{type(error).__name__}: {error}"
            raise PluginError(f"{who} needs trait {trait.name!r}, whose handler could not warm up: {what}") from error
        realization.cold.pop(trait.name, None)
