"""The programs that the page offers are the installed ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pie_server_page.programs import list_programs

from pie_core.application.program import installed_programs, read_program
from pie_core.plugins import Selection


def test_the_list_says_what_run_list_prints(fake):
    command = [sys.executable, "-m", "pie_core.cli", "run", "--list"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    listed = fake.get("/page/programs").json()["programs"]
    rows = [line.split(maxsplit=2) for line in printed.splitlines()[1:]]
    assert [[each["name"], each["description"]] for each in listed] == [[name, said] for name, _, said in rows]
    assert {each["problem"] for each in listed} == {""}


def test_flags_are_those_of_the_manifest(fake):
    listed = {each["name"]: each for each in fake.get("/page/programs").json()["programs"]}
    flags = {flag["name"]: flag for flag in listed["text_completion"]["flags"]}
    assert flags["prompt"] == {
        "name": "prompt",
        "kind": "text",
        "default": "The capital of France is",
        "help": "The text to complete, or the question.",
    }
    assert {name: flag["kind"] for name, flag in flags.items() if name != "prompt"} == {
        "max-tokens": "whole number",
        "stop": "text",
        "chat": "switch",
        "temperature": "number",
        "top-p": "number",
        "seed": "whole number",
    }


def test_the_source_is_the_file(fake):
    for name, path in installed_programs(Selection()).items():
        answer = fake.get(f"/page/programs/{name}")
        assert answer.json() == {"name": name, "source": read_program(path).source}
    missing = fake.get("/page/programs/nobody")
    assert missing.status_code == 404
    assert "nobody" in missing.json()["error"]["message"]


def test_a_program_that_could_not_be_launched_is_listed_with_its_problem(tmp_path: Path):
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text("async def main(): pass\n")
    bad.write_text("# /// inferlet\n# description = 1\n# ///\nasync def main(): pass\n")
    one, other = list_programs({"good": good, "bad": bad}).programs
    assert (one.name, other.name, other.problem) == ("bad", "good", "")
    assert "description" in one.problem
