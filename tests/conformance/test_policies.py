"""Our own policies under their suites."""

from pie_core.control.contention import FcfsKill
from pie_core.control.dispatch import Adaptive
from pie_core.testing.conformance import ContentionSuite, DispatchSuite


class TestAdaptive(DispatchSuite):
    def make(self):
        return Adaptive()


class TestFcfsKill(ContentionSuite):
    def make(self):
        return FcfsKill()
