"""The trait's own suite on the torch backend, with the bundled model."""

import asyncio

from pie_trait_introspective_forward.testing import IntrospectiveForwardSuite

from pie_core.testing import installed_model


class TestOverTorch(IntrospectiveForwardSuite):
    def make(self):
        return asyncio.run(installed_model("pico", "torch", dtype="float32", pages=128, embeds=1024, threads=1))
