"""FakeBackend under every suite of a model."""

from pie_traits_text.testing import AllocateSuite, ForwardSuite, InputTextSuite, OutputTextSuite, TokenizeSuite

from pie_core.testing import FakeBackend, fake_handlers
from pie_core.testing.conformance import BackendSuite


class Fake:
    def make(self):
        return FakeBackend(pages=128, embeds=1024, page_size=8, adapters=("one", "other"))

    def handlers(self):
        return fake_handlers()


class TestBackend(Fake, BackendSuite):
    pass


class TestAllocate(Fake, AllocateSuite):
    pass


class TestForward(Fake, ForwardSuite):
    pass


class TestInputText(Fake, InputTextSuite):
    pass


class TestTokenize(Fake, TokenizeSuite):
    pass


class TestOutputText(Fake, OutputTextSuite):
    pass
