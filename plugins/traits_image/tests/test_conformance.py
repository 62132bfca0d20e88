"""The handler for any backend, over hashes."""

from __future__ import annotations

from collections.abc import Sequence

from pie_traits_image.testing import InputImageSuite
from pie_traits_image.testing.fake import SeeingBackend

from pie_core import HandlerSpec
from pie_core.plugins import Selection
from pie_core.registry import load_handlers
from pie_core.testing import fake_handlers


class TestOverHashes(InputImageSuite):
    def make(self) -> SeeingBackend:
        return SeeingBackend(pages=128, embeds=1024, page_size=8)

    def handlers(self) -> Sequence[HandlerSpec]:
        return [*fake_handlers(), *load_handlers("fake", "", Selection())]
