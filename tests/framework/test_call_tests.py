"""Every declared call has tests that exist and are about it, and says what bad input gets."""

import ast
import functools
import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import pie_core
from pie_core import errors
from pie_core.application.runtime import RUNTIME

REPOSITORY = Path(pie_core.__file__).parent.parent
TESTS = tomllib.loads((Path(__file__).parent / "call_tests.toml").read_text("utf-8"))
OURS = [entry for entry in entry_points(group="pie_core.traits") if entry.dist.name.startswith("pie-traits-")]
TRAITS = (RUNTIME, *(entry.load().pie_trait() for entry in OURS))
DECLARED = {call.signature().name: call for trait in TRAITS for call in trait.calls}


@functools.cache
def definitions(path):
    """The syntax trees of all that a module defines or assigns at its top level, by name."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names = [name]
            case ast.Assign(targets=targets):
                names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
            case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
                names = [target.id]
            case _:
                names = []
        for name in names:
            found.setdefault(name, []).append(node)
    return found


def reached(path, function):
    """What a test says, without comments, and what the module's programs, tables and helpers say that it uses."""
    known, seen, todo, said = definitions(path), set(), [function], []
    while todo:
        name = todo.pop()
        if name in seen or name not in known:
            continue
        seen.add(name)
        for part in (part for node in known[name] for part in ast.walk(node)):
            match part:
                case ast.Name(id=used) | ast.arg(arg=used):  # an argument may be a fixture
                    todo.append(used)
                case ast.Constant(value=str(text)):  # programs are texts; written out, their line ends are escapes
                    said.append(text)
        said += [ast.unparse(node) for node in known[name]]
    return "\n".join(said)


def test_every_declared_call_has_tests_and_every_entry_is_a_call():
    assert len(OURS) >= 5
    assert sorted(TESTS) == sorted(DECLARED)


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_a_call_that_takes_something_says_what_bad_input_gets(name):
    kinds = re.findall(r"^    (\w+Error): \S", DECLARED[name].__doc__, re.M)
    assert all(hasattr(errors, kind) for kind in kinds)
    assert len(set(kinds)) == len(kinds)
    assert kinds or not DECLARED[name].signature().parameters


@pytest.mark.parametrize("name", sorted(TESTS))
def test_the_tests_of_a_call_exist_and_are_about_it(name):
    assert TESTS[name]
    for test in TESTS[name]:
        found = re.fullmatch(r"([\w/]+\.py)::(test_\w+)", test)
        assert found, f"{test} is not `path::function`"
        path = REPOSITORY / found[1]
        assert path.is_file(), f"{test}: there is no such file"
        assert found[2] in definitions(path), f"{test}: there is no such function"
        assert re.search(rf"(?<!\w){name}\(|[\"']{name}[\"']", reached(path, found[2])), f"{test} does not call {name}"
