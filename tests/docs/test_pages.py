"""What the pages for users show is what happens: their files, commands, outputs and parts of programs."""

import re
from pathlib import Path
from textwrap import indent

import pytest

from .conftest import SHOWN
from .markdown import blocks, commands, prints

ROOT = Path(__file__).parents[2]
RUN = ["docs/tutorial.md"]  # of which every block is run
PAGES = [*RUN, "README.md", "docs/openai.md", "docs/grammar.md", "docs/images.md", "docs/decode.md"]
PICTURES = " ".join(f"--blob {ROOT}/docs/pictures/{name}.png" for name in ("before", "after"))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_happens(name, shell, server):
    for block in blocks((ROOT / name).read_text("utf-8")):
        where = f"{name}:{block.line}"
        if block.kind == "file":
            shell.write(block.note.strip(), block.text)
        elif block.kind == "inferlet":
            run_part(block, shell, where)
        elif block.kind == "console":
            for command, expected in commands(block.text):
                run_command(command, expected, shell, server, where)


def run_command(command, expected, shell, server, where):
    if command.startswith("pie-core serve"):  # it runs already, for all pages
        assert command == "pie-core serve", f"{where}: all pages share one server"
        printed, code = server.replace(server.split()[-1], f"http://{SHOWN}"), 0
    else:
        printed, code = shell.run(in_this_repository(command))
    assert prints(expected, printed), f"{where}: `{command}` printed:\n{printed}\nwhere the page has:\n{expected}"
    assert code == 0 or "Error" in expected, f"{where}: `{command}` ended with {code}:\n{printed}"


def in_this_repository(command):
    """Pictures lie where they lie; `make WHAT` is what the Makefile does for it, without installing anything."""
    if not command.startswith("make "):
        return command.replace("docs/pictures/", f"{ROOT}/docs/pictures/")
    (recipe,) = re.findall(rf"^{command.split()[1]}:.*\n\t(.*)", (ROOT / "Makefile").read_text("utf-8"), re.M)
    return f"cd {ROOT} && {recipe.replace('$(BIN)/', '')}"


def run_part(block, shell, where):
    """As the program's author would: behind what the page takes for granted."""
    body = f"{block.note.strip()}\n{block.text}"
    shell.write("part.py", f"from inferlet import *\n\n\nasync def main():\n{indent(body, '    ')}")
    printed, code = shell.run(f"pie-core run --server http://{SHOWN} {PICTURES} part.py")
    assert code == 0, f"{where}: {printed}"


@pytest.mark.parametrize("name", RUN)
def test_every_block_of_a_page_is_run_or_says_why_not(name):
    assert [f"{name}:{block.line}" for block in blocks((ROOT / name).read_text("utf-8")) if not block.kind] == []


def test_the_blocks_are_all_there_are():
    for name in PAGES:
        page = (ROOT / name).read_text("utf-8")
        assert 2 * len(list(blocks(page))) == len(re.findall(r"^```", page, re.M)), f"{name}: a fence is not closed"


def test_a_page_that_shows_something_else_is_found(shell, server):
    run_command("echo one; echo two", "one\n...o\n", shell, server, "here")
    for wrong in ("one\n", "one\ntwo\nthree\n", "two\n...\n"):
        with pytest.raises(AssertionError, match="where the page has"):
            run_command("echo one; echo two", wrong, shell, server, "here")
    with pytest.raises(AssertionError, match="ended with 3"):
        run_command("exit 3", "", shell, server, "here")
