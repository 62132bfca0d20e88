"""`pie-core new`: what it refuses, and that a program that was written runs in both tiers."""

import subprocess
import sys

import pytest

from pie_core.cli.templates import KINDS
from pie_core.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "given", "name", "package"),
    [
        ("trait", "my-own", "my_own", "pie-trait-my-own"),
        ("trait", "my_own", "my_own", "pie-trait-my-own"),
        ("backend", "tpu2", "tpu2", "pie-backend-tpu2"),
        ("policy", "very_patient", "very-patient", "pie-dispatch-very-patient"),
        ("inferlet", "best-of-two", "best_of_two", "pie-inferlet-best-of-two"),
    ],
)
def test_names_are_those_of_their_kind(kind, given, name, package):
    assert (KINDS[kind].name_of(given), KINDS[kind].package_of(given)) == (name, package)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "given", ["", "My", "2nd", "-x", "x-", "a--b", "a_-b", "a.b", "a/b", "..", "naïve", "a b", "any"]
)
def test_what_is_no_name_is_refused(kind, given):
    with pytest.raises(ConfigError):
        KINDS[kind].name_of(given)


def test_nothing_is_written_over_what_is_there(pie_core, tmp_path):
    there = tmp_path / "pie-trait-dance"
    there.mkdir()
    done = pie_core.run("new", "trait", "dance", "--directory", tmp_path)
    assert (done.returncode, list(there.iterdir())) == (1, [])
    assert f"{there} is there already and stays as it is; choose another name or --directory" in done.stderr


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("trait", "forward", "traits plugin 'forward' of package pie-traits-text 0.1.0 has that name"),
        ("trait", "next-dist", "output_text has a call get_next_dist"),
        ("policy", "k_only", "dispatch plugin 'k-only' of package pie-policies 0.1.0 has that name"),
        ("inferlet", "text-completion", "a program is called 'text_completion' already"),
    ],
)
def test_a_name_that_is_taken_is_refused(pie_core, tmp_path, kind, name, message):
    done = pie_core.run("new", kind, name, "-d", tmp_path)
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert message in done.stderr


@pytest.mark.slow
def test_a_written_program_runs_by_name_in_both_tiers(pie_core, pie_core_with, tmp_path):
    written = pie_core.run("new", "inferlet", "greet", "-d", tmp_path / "deep" / "er")
    assert written.returncode == 0, written.stderr
    package, site = tmp_path / "deep" / "er" / "pie-inferlet-greet", tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--target", site]
    subprocess.run([*pip, "--no-deps", "--no-index", "--no-build-isolation", package], check=True)
    commands = pie_core_with(site)
    listed = commands.run("run", "--list").stdout
    assert ["greet", "pie-inferlet-greet"] in [line.split()[:2] for line in listed.splitlines()]
    for tier in ([], ["--native"]):
        done = commands.run_fake(*tier, "-o", "answer=....Paris.", "greet", "--", "--prompt", "Is: ")
        assert (done.stdout, done.returncode) == ("Is: Paris.\n", 0), done.stderr
