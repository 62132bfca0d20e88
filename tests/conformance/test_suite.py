"""What a suite is: cases, what is known to fail, what holds after every case, and running it without a test runner."""

import pytest

from pie_core import ConfigError, DeclarationError, KvPage
from pie_core.testing import FakeBackend, fake_handlers
from pie_core.testing.conformance import BackendSuite, ModelSuite, Suite, quick, run_suite


class Cases(Suite):
    @quick
    def test_right(self):
        assert True

    def test_wrong(self):
        raise ValueError("wrong")


class Fake(ModelSuite):
    def make(self):
        self.made.append(FakeBackend(pages=64, embeds=512))
        return self.made[-1]

    def handlers(self):
        return fake_handlers()


def statuses(suite, **options):
    return {result.case: result.status for result in run_suite(suite, **options)}


def test_cases_are_run_one_by_one_and_a_failure_keeps_its_error():
    right, wrong = run_suite(Cases)
    assert (right.status, right.error, wrong.status, str(wrong.error)) == ("passed", None, "failed", "wrong")


def test_the_quick_half_is_what_is_marked_so():
    assert statuses(Cases, only_quick=True) == {"test_right": "passed"}


def test_a_known_failure_is_no_failure_until_it_passes():
    class Known(Cases):
        known_failures = {"test_wrong": "it raises", "test_right": "it does not"}

    right, wrong = run_suite(Known)
    assert (right.status, wrong.status) == ("failed", "known")
    assert str(right.error) == "it passes, though known_failures says: it does not; remove it from there"


def test_a_known_failure_that_is_no_case_is_an_error_when_the_class_is_made():
    with pytest.raises(DeclarationError, match="no case is named 'test_rong'; did you mean 'test_wrong'"):
        type("Known", (Cases,), {"known_failures": {"test_rong": "typed in haste"}})


def test_one_model_is_made_for_a_class_and_closed_after_its_last_case():
    class Tested(Fake):
        made = []

        def test_one(self):
            assert not self.made[0].closed

        def test_other(self):
            raise ValueError

    assert statuses(Tested) == {"test_one": "passed", "test_other": "failed"}
    assert [backend.closed for backend in Tested.made] == [True]
    assert statuses(Tested)["test_one"] == "failed"  # a new one was made; the first is closed


def test_a_case_that_leaves_something_held_by_nobody_fails():
    class Tested(Fake):
        made = []

        def test_it_loses_a_page(self):
            space = self.open_program().space
            space.tables[KvPage].pop(space.allocate(KvPage, 2)[0])

        def test_it_leaves_things_to_the_end(self):
            self.open_program().space.allocate(KvPage, 2)

    left, lost = run_suite(Tested)
    assert lost.status == "failed" and "leaked" in str(lost.error)
    assert left.status == "passed"


def test_a_model_too_small_for_the_cases_is_told_so():
    class Small(BackendSuite):
        def make(self):
            return FakeBackend(pages=63, embeds=512)

    (error, *_) = [result.error for result in run_suite(Small)]
    assert isinstance(error, ConfigError) and "the suites need 64 kvpages, the backend has 63" in str(error)


def test_what_make_does_not_return_is_said_by_name():
    (result, *_) = run_suite(BackendSuite)
    assert "BackendSuite.make: return a loaded Backend" in str(result.error)
