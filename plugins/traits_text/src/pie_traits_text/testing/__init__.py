"""The conformance suites of the text traits: what any backend must do that realizes them (docs/conformance.md).

from pie_traits_text.testing import ForwardSuite

class TestForward(ForwardSuite):
    backend_name = "acme"

    def make(self):
        return load_backend("tiny", pages=64)
"""

from pie_traits_text.testing.allocate import AllocateSuite
from pie_traits_text.testing.forward import ForwardSuite
from pie_traits_text.testing.input_text import InputTextSuite
from pie_traits_text.testing.output_text import OutputTextSuite
from pie_traits_text.testing.tokenize import TokenizeSuite

__all__ = ["AllocateSuite", "ForwardSuite", "InputTextSuite", "OutputTextSuite", "TokenizeSuite"]
