"""What the generated text promises: the code in it does what Python makes of it, and no item is in two splits."""

import contextlib
import importlib
import io
from pathlib import Path
from random import Random
from typing import Any

import pytest

TRAINING = Path(__file__).parents[1] / "training"


@pytest.fixture
def corpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TRAINING)
    return importlib.import_module("corpus")


def _run(code: str, variables: dict[str, Any]) -> str:
    """What it prints, or the error as the last line of a traceback has it."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(code, variables)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return printed.getvalue().rstrip("\n")


def test_code_that_answers_a_question_runs_and_fails_only_on_data_it_does_not_fit(corpus: Any) -> None:
    rng, corrected = Random(1), 0
    for _ in range(1000):
        example = corpus.draw("coding", rng, "train")
        if "Run" in example.prompt:
            continue  # the user's own code, sound or not
        variables: dict[str, Any] = {}
        stretches = [span.text for span in example.answer]
        for said, output in zip(stretches[::2], stretches[1::2], strict=False):
            result = _run(said.partition("Code:\n")[2].removesuffix("\nOutput:"), variables)
            if "I will skip such words" in "".join(stretches) and said is stretches[0]:
                assert output == f" {result}\n"
                corrected += 1
            elif "Error: " in result:
                assert "There are none" in stretches[-1] or result.startswith(("ValueError: m", "ZeroDivisionError"))
    assert corrected > 20


@pytest.mark.parametrize("skill", ["react", "coding", "roles"])
def test_an_item_is_in_one_split_for_ever(corpus: Any, skill: str) -> None:
    rng = Random(2)
    keys = {split: {corpus.draw(skill, rng, split).key for _ in range(300)} for split in ("train", "held_out")}
    assert not (keys["train"] & keys["held_out"]) - {None}
