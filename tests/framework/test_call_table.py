"""`docs/calls.md` has every declared call once, as it is declared, with tests that exist and are about it."""

import ast
import functools
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import pie_core
from pie_core import errors
from pie_core.application.interface import is_future
from pie_core.application.runtime import RUNTIME
from pie_core.command import Command

REPOSITORY = Path(pie_core.__file__).parent.parent
TABLE = REPOSITORY / "docs" / "calls.md"
OURS = [entry for entry in entry_points(group="pie_core.traits") if entry.dist.name.startswith("pie-traits-")]
TRAITS = (RUNTIME, *(entry.load().pie_trait() for entry in OURS))
DECLARED = {call.signature().name: (trait, call) for trait in TRAITS for call in trait.calls}


def rows():
    """The cells of each row: call, trait, what it does, errors, tests."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] not in ("Call", "---")]


def called(row):
    """The name of the call that a row is about."""
    found = re.fullmatch(r"`(?:await )?(\w+)\(.*\).*`", row[0])
    assert found, f"{row[0]} is no call"
    return found[1]


ROWS = {called(row): row for row in rows()}


def written(call):
    """A call as a program writes it."""
    signature = call.signature()
    first = {"queue": ["q"], "model": ["model"], "none": []}[signature.target]
    rest = [p.name if p.required else f"{p.name}={p.default!r}" for p in signature.parameters]
    returns = signature.returns.name
    awaited = is_future(call) and not (issubclass(call, Command) and returns == "none")
    result = "" if returns == "none" else f" -> {returns}"
    return f"{'await ' * awaited}{signature.name}({', '.join(first + rest)}){result}"


def trait_of(name):
    """What the second column says of a declared call."""
    trait, call = DECLARED[name]
    return f"runtime: {call.__module__.rpartition('.')[2]}" if trait is RUNTIME else trait.name


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


def test_every_declared_call_has_one_row_and_every_row_a_call():
    assert len(OURS) >= 5
    assert sorted(called(row) for row in rows()) == sorted(DECLARED)


def test_a_row_has_five_cells():
    assert [row for row in rows() if len(row) != 5] == []


@pytest.mark.parametrize("name", sorted(DECLARED.keys() & ROWS.keys()))
def test_a_row_says_what_the_declaration_says(name):
    call, trait, does, wrong, _ = ROWS[name]
    assert call == f"`{written(DECLARED[name][1])}`"
    assert trait == trait_of(name)
    assert does
    kinds = re.findall(r"`(\w+Error)`", wrong)
    assert all(hasattr(errors, kind) for kind in kinds)
    assert kinds or not DECLARED[name][1].signature().parameters, "it takes something, so what does bad input get?"


@pytest.mark.parametrize("name", sorted(ROWS))
def test_the_tests_of_a_row_exist_and_are_about_it(name):
    tests = ROWS[name][4].split("<br>")
    for test in tests:
        found = re.fullmatch(r"`([\w/]+\.py)::(test_\w+)`", test)
        assert found, f"{test} is not `path::function`"
        path = REPOSITORY / found[1]
        assert path.is_file(), f"{test}: there is no such file"
        assert found[2] in definitions(path), f"{test}: there is no such function"
        assert re.search(rf"(?<!\w){name}\(|[\"']{name}[\"']", reached(path, found[2])), f"{test} does not call {name}"
