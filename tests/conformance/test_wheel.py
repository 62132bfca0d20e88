"""A third party's tests, against what is in the wheels: the cases run, show their values, and failures are strict."""

import pytest

from ..wheels import CleanEnvironment, once

COMMON = """
import pie_core
from pie_core.testing import FakeBackend, fake_handlers
from pie_core.testing.fake import FakeHandler, digest
from pie_traits_text.testing import InputTextSuite, TokenizeSuite


class Fake:
    def make(self):
        return FakeBackend(pages=128, embeds=1024)

    def handlers(self):
        return fake_handlers()
"""

GOOD = (
    COMMON
    + """
def test_it_is_the_wheel_that_is_tested():
    assert "environment-text" in pie_core.__file__


class TestTokenize(Fake, TokenizeSuite):
    def test_a_case_of_ones_own(self, tmp_path):
        assert tmp_path.is_dir()
"""
)

BAD = (
    COMMON
    + """
class Wrong(FakeHandler):
    def detokenize(self, query):
        return super().detokenize(query).upper()

    def embed_txt(self, batch):
        for command in batch:
            for token, embed in zip(command.tok, command.emb, strict=True):
                self._backend.embeds[embed.index] = digest("token", token % 2)


class WrongBackend(Fake):
    def handlers(self):
        specs = fake_handlers()
        return [type(spec)(spec.trait, spec.backend, Wrong) for spec in specs]


class TestTokenize(WrongBackend, TokenizeSuite):
    known_failures = {
        "test_a_character_in_pieces_is_replaced_until_it_is_whole": "upper case",
        "test_it_launches_nothing": "no reason",
    }


class TestInputText(WrongBackend, InputTextSuite):
    pass
"""
)

MISSPELT = (
    COMMON
    + """
class TestTokenize(Fake, TokenizeSuite):
    known_failures = {"test_it_launches_nothin": "typed in haste"}
"""
)


@pytest.fixture(scope="session")
def environment(tmp_path_factory, wheels):
    """One with pie-core and pie-traits-text, as pip installs them."""

    def make(directory):
        CleanEnvironment.create(directory).install("pie-traits-text", wheels=wheels)

    return CleanEnvironment(once(tmp_path_factory, "environment-text", make))


@pytest.fixture
def run_pytest(environment, tmp_path):
    """Runs one test file there, with plain pytest; its output and the outcomes by case."""

    def run(source):
        (tmp_path / "test_theirs.py").write_text(source)
        done = environment.pytest("-rA", tmp_path)
        marks = [line.split() for line in done.stdout.splitlines() if "test_theirs.py::" in line]
        return done.stdout, {mark[1].rpartition("::")[2]: mark[0] for mark in marks if mark[0].isupper()}

    return run


@pytest.mark.slow
def test_a_good_backend_passes_every_case(run_pytest):
    output, outcomes = run_pytest(GOOD)
    assert set(outcomes.values()) == {"PASSED"}, output
    assert {"test_it_is_the_wheel_that_is_tested", "test_a_case_of_ones_own"} < set(outcomes)
    assert "test_tokenize_refuses_arguments_of_wrong_types" in outcomes


@pytest.mark.slow
def test_a_failing_case_shows_its_values_and_known_failures_are_strict(run_pytest):
    output, outcomes = run_pytest(BAD)
    assert outcomes["test_the_tokens_of_a_text_give_the_text_back"] == "FAILED"
    assert "AssertionError: assert 'HELLO' == 'hello'" in output  # rewritten in the module of the suite,
    assert outcomes["test_tokens_are_told_apart"] == "FAILED"
    assert "= distance([" in output  # and in the one beside it
    assert outcomes["test_a_character_in_pieces_is_replaced_until_it_is_whole"] == "XFAIL"
    assert outcomes["test_it_launches_nothing"] == "FAILED"
    assert "[XPASS(strict)] no reason" in output


@pytest.mark.slow
def test_a_known_failure_that_no_case_has_is_an_error(run_pytest):
    output, outcomes = run_pytest(MISSPELT)
    assert "no case is named 'test_it_launches_nothin'; did you mean 'test_it_launches_nothing'?" in output
    assert "PASSED" not in outcomes.values()
