"""What `pie-core new` writes, as docs/plugins.md tells it: every command there is run, every piece of code compared."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest

from pie_core.cli.templates import KINDS, render

from ..wheels import ROOT, CleanEnvironment, build_wheels
from .conftest import SAMPLE

PAGE = (ROOT / "docs" / "plugins.md").read_text("utf-8")
BLOCKS = [block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]
CODE = re.findall(r"`([\w./-]+)`:\n\n```(?:python|toml)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NEW = {tuple(block[0].split()[2:]) for block in BLOCKS if block[0].startswith("pie-core new ")}


class Shell:
    """Runs the commands of the page in a clean environment.

    `pip install -e` is done by a wheel, so that it is seen to be built. `pie-core run` is trusted: the interpreter of
    the sandbox takes half a minute to build where traits are new (`tests/cli/test_new.py` runs a program there).
    """

    def __init__(self, environment: CleanEnvironment, wheels: Path, at: Path) -> None:
        self._environment, self._wheels, self.at = environment, wheels, at

    def run(self, line: str) -> str:
        """What it prints."""
        match shlex.split(line):
            case ["cd", directory]:
                self.at = self.at / directory
            case ["pip", "install", "-e", ".[test]"]:
                build_wheels(self._wheels, self.at)
                self._environment.install(f"{self.at.name}[test]", wheels=self._wheels)
            case ["pip", "wheel", "--no-deps", "--wheel-dir", "dist", "."]:
                build_wheels(self.at / "dist", self.at)
                assert len(list((self.at / "dist").glob("*.whl"))) == 1
            case ["pytest"]:
                done = self._environment.pytest("-q", self.at)
                assert done.returncode == 0, done.stdout[-5000:]
            case ["pie-core", command, *arguments]:
                trusted = ["--native"] if command == "run" else []
                done = self._environment.run("pie-core", command, *trusted, *arguments, cwd=self.at)
                assert (done.returncode, done.stderr) == (0, ""), f"{line}\n{done.stdout}\n{done.stderr}"
                return done.stdout
            case _:
                pytest.fail(f"{line}: the test does not know this command")
        return ""


@pytest.mark.slow
def test_every_command_of_the_page_works_and_new_says_the_next_three(
    tmp_path_factory: pytest.TempPathFactory, wheels: Path
) -> None:
    environment = CleanEnvironment.create(tmp_path_factory.mktemp("environment") / "written")
    environment.install("pie-backend-torch", "pie-model-pico", wheels=wheels)
    base = tmp_path_factory.mktemp("packages")
    own = tmp_path_factory.mktemp("wheels")
    for wheel in wheels.glob("*.whl"):
        (own / wheel.name).symlink_to(wheel)
    shell = Shell(environment, own, base)
    for block in BLOCKS:
        if block[0].startswith("pie-core new"):
            shell.at = base
        said = [shell.run(line) for line in block]
        if block[0].startswith("pie-core new"):
            new, enter, install, *rest = block
            kind, name = new.split()[2:]
            files = {path: (shell.at / path).read_text("utf-8") for path in render(KINDS[kind], name)}
            assert files == render(KINDS[kind], name)  # by the templates in the wheel
            assert [line.strip() for line in said[0].splitlines()[2:]] == [f"{enter} && {install}", *rest]
            assert " cases pass" in said[-1] or said[-1].startswith("The capital of France is ")
    assert {"pie-trait-entropy", "pie-backend-plain", "pie-dispatch-patient"} < environment.ours


def written() -> Mapping[str, str]:
    """All files that the commands of the page write, by their paths in the packages."""
    every: dict[str, str] = {}
    for kind, name in sorted(NEW):
        every |= {str(path): text for path, text in render(KINDS[kind], name).items()}
    return every


def test_the_page_has_a_package_of_each_kind() -> None:
    assert sorted(kind for kind, _ in NEW) == sorted(KINDS)
    assert len(CODE) >= 6


@pytest.mark.parametrize(("path", "code"), CODE, ids=[path for path, _ in CODE])
def test_the_code_of_the_page_is_that_of_the_packages(path: str, code: str) -> None:
    where = ROOT / path
    text = where.read_text("utf-8") if path.startswith("tests/samples/") else written()[path]
    assert code in text


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_says_for_which_interface(kind: str) -> None:
    project = tomllib.loads(render(KINDS[kind], "some-name")[PurePosixPath("pyproject.toml")])["project"]
    assert project["entry-points"]["pie_core.api"] == {"1": "pie_core:API_VERSION"}
    assert project["license"] == "Apache-2.0" and project["version"] == "0.1.0"


def test_the_sample_still_has_the_form_of_the_template() -> None:
    """There is one form of a package: what the template would write is there, but for its example of a program."""
    files = render(KINDS["trait"], "introspective_forward")
    missing = {str(path) for path in files if not (SAMPLE / path).is_file()}
    assert missing == {"tests/test_program.py"}
    ours, theirs = (
        tomllib.loads(text)
        for text in (files[PurePosixPath("pyproject.toml")], (SAMPLE / "pyproject.toml").read_text("utf-8"))
    )
    assert ours["build-system"] == theirs["build-system"] and ours["tool"] == theirs["tool"]
    points, more = ours["project"]["entry-points"], theirs["project"]["entry-points"]
    assert points.keys() <= more.keys()
    for group in ("pie_core.api", "pie_core.traits", "pie_core.suites"):
        assert points[group] == more[group]
