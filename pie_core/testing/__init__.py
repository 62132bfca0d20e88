"""For tests of plugins and programs: a backend without tensors, and a way to run a program in one line."""

from pie_core.testing.fake import FakeBackend, fake_handlers
from pie_core.testing.inline import InlineDevice, ManualLoop
from pie_core.testing.run import Outcome, fake_model, installed_model, run_inferlet

__all__ = [
    "FakeBackend",
    "InlineDevice",
    "ManualLoop",
    "Outcome",
    "fake_handlers",
    "fake_model",
    "installed_model",
    "run_inferlet",
]
