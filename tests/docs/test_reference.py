"""docs/reference is what the declarations say today, and says something of each of them."""

import ast
import asyncio
import inspect
import re
import subprocess
import sys
from pathlib import Path

import click
import httpx
import msgspec
import pytest
from inferlet.calls import install
from prometheus_client.parser import text_string_to_metric_families

from pie_core import errors
from pie_core.application.interface import describe
from pie_core.application.limits import Limits
from pie_core.application.program import Program
from pie_core.application.runtime import RUNTIME
from pie_core.cli import main
from pie_core.command import Command
from pie_core.controller import Settings
from pie_core.errors import DeclarationError, PieError
from pie_core.hookspecs import Hooks
from pie_core.plugins import Selection, discover, load, select
from pie_core.reference.calls import calls_page
from pie_core.reference.described import described, of_fields, shown, split_errors, split_names
from pie_core.reference.pages import make_pages
from pie_core.reference.sdk import sdk_page
from pie_core.schema import U32
from pie_core.server.address import listen, url_of
from pie_core.server.events import events_of
from pie_core.server.serve import serving
from pie_core.trait import Trait

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
INSTALLED = ROOT / "tests" / "server" / "installed"


@pytest.fixture(scope="module")
def pages():
    return {path.name: path.read_text("utf-8") for path in REFERENCE.glob("*.md")}


def rows(page):
    """The cells of every row of every table, by the first one, without its ticks."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0].strip("`"): row for row in reversed(cells)}


def test_the_reference_is_what_the_declarations_say_today(pages):
    made = make_pages()
    assert pages.keys() == made.keys(), "run `make reference`"
    for name, page in made.items():
        assert pages[name] == page, f"docs/reference/{name} is stale: run `make reference`"


def test_the_command_writes_the_pages_and_removes_what_is_stale(tmp_path, pages):
    (tmp_path / "stale.md").write_text("")
    subprocess.run([sys.executable, "-m", "pie_core.reference", tmp_path], check=True)
    assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == pages


def test_every_hook_is_described(pages):
    hooks = [name for name in dir(Hooks) if name.startswith("pie_")]
    assert len(hooks) >= 10
    assert all(rows(pages["hooks.md"])[name][-1] for name in hooks)


def test_every_error_is_described_with_its_code(pages):
    classes = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, PieError)]
    for one in classes:
        row = rows(pages["errors.md"])[one.__name__]
        assert row[1] == f"`{one.code}`"
        assert row[-1]


def test_every_limit_and_every_option_of_a_backend_or_policy_is_described_with_its_default(pages):
    for name in Limits.__struct_fields__:
        assert rows(pages["limits.md"])[name][-1]
    for kind in ("backends", "dispatch", "contention"):
        for plugin in select(discover(kind), Selection()):
            spec = load(plugin)
            section = re.search(rf"^## [\w ]+ `{spec.name}`\n(.*?)(?=^## |\Z)", pages["options.md"], re.M | re.S)[1]
            assert plugin.package in section
            for field in msgspec.structs.fields(spec.options):
                _, default, text = rows(section)[field.name]
                assert text
                assert default == f"`{shown(field.default, field.name)}`"


def leaves(group, path):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, [*path, name])
        else:
            yield " ".join([*path, name]), command


def test_every_command_and_each_of_its_options_is_described(pages):
    sections = re.split(r"^## ", pages["commands.md"], flags=re.M)
    for name, command in leaves(main, ["pie-core"]):
        (section,) = [section for section in sections if section.startswith(f"`{name}`\n")]
        table = rows(section) | rows(sections[0])
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                found = [row for first, row in table.items() if parameter.opts[-1] in re.split(r"[, ]+", first)]
                assert found, f"{name} {parameter.opts}"
                assert re.sub(r"\[.*\]", "", found[0][-1]), f"{name} {parameter.opts}"
            elif parameter.metavar or parameter.name:
                assert parameter.make_metavar(click.Context(command)).strip("[].") in section


def test_every_call_is_described_with_its_arguments_and_errors(pages):
    traits = [RUNTIME, *(load(plugin) for plugin in select(discover("traits"), Selection()))]
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", pages["calls.md"], re.M | re.S))
    assert sections.keys() == {name for trait in traits for name in trait.signatures}
    for trait in traits:
        for name, signature in trait.signatures.items():
            _, shape, text = re.split(r"```(?:python)?\n", sections[name])
            assert re.match(rf"(await )?{name}\(", shape)
            assert text.strip()
            for parameter in signature.parameters:
                row = rows(text)[parameter.name]
                assert row[1] == f"`{parameter.type.name}`"
                assert (row[2] == "") == parameter.required
            for error in re.findall(r"^    (\w+Error): ", signature.doc, re.M):
                assert rows(text)[error][1]


async def scraped():
    """The metrics of a server that has run something, so that they have samples."""
    with listen("127.0.0.1", 0) as listener:
        async with serving(Settings("fake", "fake", tier="native"), listener) as state:
            source = "from inferlet import get_auto_model\n\nasync def main():\n"
            source += "    with get_auto_model().create_context() as context:\n        await context.fill('Hello,')\n"
            source += "        await context.next_dist()\n"
            inferlet = await state.controller.application.launch(Program("ask", source, "ask.py"))
            async for _ in events_of(inferlet):
                pass
            async with httpx.AsyncClient(trust_env=False) as http:
                return (await http.get(f"{url_of(listener)}/metrics")).text


def test_every_public_name_of_the_sdk_is_described_with_its_parameters(pages):
    """Oracle: the sources, parsed."""
    page = pages["sdk.md"].replace("\\|", "|")
    sources = {path.stem: ast.parse(path.read_text("utf-8")) for path in (ROOT / "inferlets/sdk/inferlet").glob("*.py")}
    exported = ast.literal_eval(next(n.value for n in sources["__init__"].body if isinstance(n, ast.Assign)))
    public = {node.name: node for tree in sources.values() for node in tree.body if hasattr(node, "name")}
    found = 0
    for node in (public[name] for name in exported if name in public and not name.endswith("Error")):
        body = node.body if isinstance(node, ast.ClassDef) else [node]
        for function in (n for n in body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)):
            if function.name.startswith("_") or "property" in map(ast.unparse, function.decorator_list):
                continue
            asked = [one.arg for one in function.args.args if one.arg not in ("self", "cls")]
            parameters = ".*".join(rf"\b{re.escape(name)}: " for name in asked)
            assert re.search(rf"[ `.]{function.name}\(.*{parameters}.*\).*` \| \S", page), function.name
            found += 1
    assert found > 50


def test_the_page_of_the_sdk_is_the_same_once_programs_have_run_in_this_process():
    before = sdk_page()
    install(describe([RUNTIME]))
    assert sdk_page() == before


def test_every_metric_of_a_server_is_described_with_its_labels(pages, monkeypatch):
    monkeypatch.syspath_prepend(str(INSTALLED))
    found = rows(pages["server.md"])
    families = list(text_string_to_metric_families(asyncio.run(scraped())))
    assert len(families) >= 10
    assert {"pie_batch_size", "pie_requests"} <= {family.name for family in families}
    for family in families:
        _, kind, labels, text = found[f"{family.name}_total" if family.type == "counter" else family.name]
        assert (kind, text) == (family.type, family.documentation)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(re.findall(r"`(\w+)`", labels))


def test_what_has_no_description_is_an_error_that_names_it():
    class Bare(msgspec.Struct):
        """told: something."""

        told: int = 0
        untold: int = 0

    with pytest.raises(DeclarationError, match=r"Bare.untold has no description"):
        of_fields(Bare)
    with pytest.raises(DeclarationError, match="the thing has no description"):
        described("the thing", "  \n")


def test_a_new_call_is_on_the_page_by_itself():
    class Wiggle(Command):
        """Wiggle a number.

        n: how much. Twice is
            allowed.

        It comes back by itself.

        ArgumentError: a number that cannot
            be wiggled.
        """

        returns = U32
        n: U32 = 3

    page = calls_page([Trait("wiggling", "1.0", "To wiggle.", (Wiggle,))])
    section = page[page.index("## Trait `wiggling` 1.0\n\nTo wiggle.") :]
    assert "await wiggle(q, n=3) -> u32" in section
    assert "Wiggle a number. *A command.*\n\nIt comes back by itself.\n" in section
    assert rows(section)["n"] == ["`n`", "`u32`", "`3`", "how much. Twice is allowed."]
    assert rows(section)["ArgumentError"][1] == "a number that cannot be wiggled."


def test_docstrings_are_taken_apart_at_names_and_errors():
    text, found = split_errors("Do it.\n\nArgumentError: a\n    b.\nHandleError: c.\n")
    assert (text, found) == ("Do it.", {"ArgumentError": "a b.", "HandleError": "c."})
    assert split_names("Do it.\n\none, two: this. three: that,\n with more.\n\nMore.", ["one", "two", "three"]) == (
        ["Do it.", "More."],
        {"one": "this.", "two": "this.", "three": "that, with more."},
    )
    assert split_names("No names: here.", []) == (["No names: here."], {})


def test_defaults_are_shown_as_one_reads_them():
    assert [shown(None), shown(""), shown(0.4), shown(3600.0), shown(True)] == ["none", "none", "0.4", "3600", "True"]
    assert [shown(8 << 20, "x_bytes"), shown(1000, "x_bytes"), shown(8 << 20, "x")] == ["8 MiB", "1000", "8388608"]
