"""A third party's trait and program, published as a wheel, where there is of ours only what pip has installed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ..wheels import CleanEnvironment
from .conftest import PACKAGE, SAMPLE

SMALL = ["--model", "pico", "-o", "threads=1", "-o", "pages=64", "-o", "embeds=512"]

pytestmark = pytest.mark.slow


def test_pip_brings_what_the_wheel_demands_and_nothing_else_of_ours(environment: CleanEnvironment) -> None:
    wanted = {"pie-core", "pie-inferlet-sdk", "pie-traits-text", "pie-backend-torch", "pie-model-pico", PACKAGE}
    assert environment.ours == wanted
    where = environment.run("python", "-c", "import pie_core, inferlet; print(pie_core.__file__, inferlet.__file__)")
    assert where.stdout.count(str(environment.directory)) == 2, where.stderr


def test_its_own_tests_pass_and_with_them_its_oracles(environment: CleanEnvironment, tmp_path: Path) -> None:
    shutil.copytree(SAMPLE, tmp_path / "sample")
    done = environment.pytest("-q", "--show-capture=no", tmp_path / "sample")
    assert done.returncode == 0, done.stdout[-5000:]


def test_it_is_listed_with_what_it_brings(environment: CleanEnvironment) -> None:
    plain = environment.run("pie-core", "plugins", "--json")
    rows = [row for row in json.loads(plain.stdout) if row["package"] == PACKAGE]
    assert {(row["kind"], row["name"]) for row in rows} == {
        ("traits", "introspective_forward"),
        ("handlers", "torch.introspective_forward"),
        ("suites", "introspective_forward"),
        ("inferlets", "introspective_forward"),
    }
    assert all((row["version"], row["api"], row["problem"]) == ("0.1.0", ["1"], None) for row in rows)
    checked = environment.run("pie-core", "plugins", "--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    lines = {tuple(line.split()[:2]): line.split()[2:] for line in checked.stdout.splitlines()}
    found = lines["backends", "torch"]
    assert found == [
        "pie-backend-torch", "0.1.0", "1",
        "allocate", "forward", "input_text", "introspective_forward", "output_text", "tokenize",
    ]  # fmt: skip
    assert lines["handlers", "torch.introspective_forward"] == [PACKAGE, "0.1.0", "1", "introspective_forward"]


def test_its_conformance_is_checked_by_name(environment: CleanEnvironment) -> None:
    done = environment.run("pie-core", "plugins", "--check", "introspective_forward", *SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    model, suite = done.stdout.splitlines()
    assert model.startswith("model 'pico' on cpu")
    passed, _, total, *_ = suite.removeprefix("IntrospectiveForwardSuite: ").split()
    assert passed == total and int(total) >= 17


def test_its_program_runs_by_name(environment: CleanEnvironment) -> None:
    listed = environment.run("pie-core", "run", "--list")
    assert [line.split()[:2] for line in listed.stdout.splitlines()] == [["PROGRAM", "PACKAGE"], ["h2o", PACKAGE]]
    flags = ["--prompt", "The capital of France is", "--heavy", "4", "--recent", "4", "--max-tokens", "12"]
    done = environment.run("pie-core", "run", "--native", "h2o", *SMALL, "--", *flags)
    assert (done.returncode, done.stderr) == (0, "")
    text, kept = done.stdout.splitlines()
    assert text.startswith("The capital of France is ")
    assert kept.startswith("[8 of ") and "tokens kept" in kept
