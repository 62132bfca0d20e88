"""`pie-core doctor`: every line says ok, warn or fail, and what to do."""

import pytest

FAKE = ("--backend", "fake", "--model", "fake")


def test_a_good_installation_is_all_ok_down_to_generated_tokens(pie_core):
    done = pie_core.run("doctor", *FAKE, "-o", "answer=Paris, " * 10)
    assert (done.stderr, done.returncode) == ("", 0)
    lines = done.stdout.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "warn"}
    for words in (
        "Python 3",
        "pie-core 0",
        "GiB",
        "'fake' of package pie-fake 1.0 loads",
        "checkpoint of model 'fake'",
    ):
        assert any(words in line for line in lines), words
    assert "model 'fake' on no device" in lines[-1]
    assert "generated '" in lines[-1]


@pytest.mark.parametrize(
    ("entry_points", "source", "says"),
    [
        ("[pie_core.traits]\nbroken = pie_extra\n", "raise OSError('libnothing.so')", "OSError: libnothing.so"),
        ("[pie_core.backends]\nfake = pie_extra\n", "", "--prefer"),
        ("[pie_core.models]\nempty = pie_extra\n", "EMPTY_MODEL", "config.json, tokenizer.json is missing"),
    ],
)
def test_what_is_broken_is_a_failure_that_names_it_and_says_what_to_do(
    pie_core_with, package, entry_points, source, says
):
    empty = (
        "from pathlib import Path\nfrom pie_core import ModelSpec, hookimpl\n"
        "@hookimpl\ndef pie_model(): return ModelSpec('empty', Path(__file__).parent)\n"
    )
    extra = package("pie-extra", entry_points, empty if source == "EMPTY_MODEL" else source)
    done = pie_core_with(extra).run("doctor", *FAKE)
    assert done.returncode == 1
    failures = [line for line in done.stdout.splitlines() if line.startswith("fail")]
    assert any(says in line for line in failures), done.stdout
    assert "generation was not tried" in done.stdout.splitlines()[-1]


def test_a_model_that_does_not_load_is_a_failure_with_its_reason(pie_core):
    done = pie_core.run("doctor", *FAKE, "-o", "fail=no room on the device")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "fail  generation: no room on the device"


def test_a_pool_too_small_for_a_small_program_is_a_failure_with_its_reason(pie_core):
    done = pie_core.run("doctor", *FAKE, "-o", "pages=1")
    assert done.returncode == 1
    assert "a small program failed" in done.stdout
