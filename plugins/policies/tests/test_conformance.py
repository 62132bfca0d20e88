"""Every policy of the package under the suite of its kind."""

from pie_policies import eager, k_only, t_only, wait

from pie_core.testing.conformance import ContentionSuite, DispatchSuite


def made(spec):
    return spec.make(spec.options())


class TestEager(DispatchSuite):
    def make(self):
        return made(eager.pie_dispatch())


class TestKOnly(DispatchSuite):
    idle_s = 0.100  # its patience is 20 ms, counted from the last command that came

    def make(self):
        return made(k_only.pie_dispatch())


class TestTOnly(DispatchSuite):
    idle_s = 0.005  # its period

    def make(self):
        return made(t_only.pie_dispatch())


class TestWait(ContentionSuite):
    def make(self):
        return made(wait.pie_contention())
