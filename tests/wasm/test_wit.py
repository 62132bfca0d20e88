"""WIT from declarations: what every call becomes, what is refused, and that another parser takes it."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from pie_core import (
    S32,
    U32,
    U64,
    Command,
    ConfigError,
    ControlCall,
    DeclarationError,
    Embed,
    Handles,
    KvPage,
    Mask,
    Query,
    Reads,
    Resource,
    Writes,
)
from pie_core.application.runtime import RUNTIME
from pie_core.application.wasm.wit import package_of, packages, world, write
from pie_core.application.wasm.wit_model import KEYWORDS
from pie_core.schema import F32Array, Integer, U32Array


class Point(msgspec.Struct):
    """A place.

    In the plane.
    """

    x: float
    y: float | None = None


class Found(msgspec.Struct):
    where: list[Point]
    ids: U32Array
    probs: F32Array


class Shoe(Resource):
    kind = "shoe"


def functions(trait):
    return [function.signature() for function in package_of(trait).interface.functions]


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (U32, "u32"), (U64, "u64"), (S32, "s32"), (int, "s64"), (Annotated[int, Integer(8)], "u8"), (float, "f64"),
        (bool, "bool"), (str, "string"), (bytes, "list<u8>"), (list[list[bytes]], "list<list<list<u8>>>"),
        (U32 | None, "option<u32>"), (list[str] | None, "option<list<string>>"), (Reads[KvPage], "list<u32>"),
        (Writes[Embed] | None, "option<list<u32>>"), (Reads[Shoe], "list<u32>"),
        (Annotated[tuple[int, ...], Handles(Shoe)], "list<u32>"), (Mask, "mask"), (Mask | None, "option<mask>"),
        (Point, "point"), (list[Point] | None, "option<list<point>>"), (U32Array, "list<u32>"),
        (F32Array, "list<f32>"),
    ],
)  # fmt: skip
def test_every_type_of_a_declaration_has_a_wit_type(trait, annotation, text):
    class Take(Query):
        """Take."""

        what: annotation

    assert functions(trait(Take)) == [f"take: func(q: u32, what: {text}) -> result<_, error>"]


def test_the_target_comes_first_and_defaults_change_nothing(trait):
    class OfQueue(ControlCall):
        """Q."""

        some_number: U32 = 7

    class OfModel(ControlCall):
        """M."""

        target = "model"
        returns = str

    class OfNobody(ControlCall):
        """N."""

        target = "none"
        returns = list[Point]

    assert functions(trait(OfQueue, OfModel, OfNobody)) == [
        "of-queue: func(q: u32, some-number: u32) -> result<_, error>",
        "of-model: func(model: string) -> result<string, error>",
        "of-nobody: func() -> result<list<point>, error>",
    ]


def test_a_call_with_a_future_gives_a_ticket_and_a_function_that_takes_the_result(trait):
    class Move(Command):
        """Move."""

    class Look(Command):
        """Look."""

        returns = Found

    made = package_of(trait(Move, Look)).interface.functions
    assert [(function.signature(), function.call, function.gives) for function in made] == [
        ("move: func(q: u32) -> result<u64, error>", "move", "ticket"),
        ("look: func(q: u32) -> result<u64, error>", "look", "ticket"),
        ("look-result: func(ticket: u64) -> result<found, error>", "look", "result"),
    ]


def test_a_package_is_text_with_docs_records_in_order_and_only_what_it_uses(trait):
    class Look(Query):
        """Look around.

        Long: error.
        """

        returns = Found
        mask: Mask

    assert package_of(trait(Look, version="1.2")).text == (
        "package pie:acme@1.2.0;\n\n"
        "/// Of acme.\n"
        "interface acme {\n"
        "  use pie:core/types@1.0.0.{error, mask};\n\n"
        "  /// A place.\n  ///\n  /// In the plane.\n"
        "  record point {\n    x: f64,\n    y: option<f64>,\n  }\n\n"
        "  record found {\n    where: list<point>,\n    ids: list<u32>,\n    probs: list<f32>,\n  }\n\n"
        "  /// Look around.\n  ///\n  /// Long: error.\n"
        "  look: func(q: u32, mask: mask) -> result<found, error>;\n"
        "}\n"
    )


def test_a_package_that_has_no_mask_does_not_use_the_type(trait):
    class Look(Query):
        """Look."""

    assert "  use pie:core/types@1.0.0.{error};\n" in package_of(trait(Look)).text


def test_the_core_package_has_the_runtime_and_what_is_written_by_hand():
    core = package_of(RUNTIME)
    assert (core.name, core.version) == ("pie:core", "1.0.0")
    assert [interface.name for interface in core.interfaces] == ["types", "tickets", "source", "runtime"]
    assert "  wait: func(tickets: list<u64>) -> list<u64>;" in core.text
    assert "  outcome: func(ticket: u64) -> result<_, error>;" in core.text
    assert "  drop: func(tickets: list<u64>);" in core.text
    assert "  get: func() -> list<file>;" in core.text
    assert "  create-queue: func(model: string) -> result<u32, error>;" in core.text
    assert "  sleep: func(seconds: f64) -> result<u64, error>;" in core.text
    assert "  receive-result: func(ticket: u64) -> result<string, error>;" in core.text
    assert "  output: func(text: string) -> result<_, error>;" in core.text


def test_packages_come_after_what_they_use(traits):
    assert [package.name for package in packages(traits)][:2] == ["pie:core", "pie:allocate"]


def test_a_world_imports_what_is_asked_for_and_exports_run(traits):
    forward = [trait for trait in traits if trait.name == "forward"]
    text = world(forward)
    assert text.splitlines() == [
        "package pie:inferlet;",
        "",
        "world inferlet {",
        "  use pie:core/types@1.0.0.{error};",
        "",
        "  import pie:core/tickets@1.0.0;",
        "  import pie:core/runtime@1.0.0;",
        "  import pie:forward/forward@1.0.0;",
        "",
        "  /// The program. The text it returns, if any, is what its client gets.",
        "  export run: func() -> result<option<string>, error>;",
        "}",
    ]
    assert "import pie:core/source@1.0.0;" in world(forward, source=True)
    assert "world %import {" in world(forward, "import")


@pytest.mark.parametrize("name", ["Inferlet", "a_b", "", "2", "../up"])
def test_a_world_without_a_kebab_name_is_refused(name, tmp_path):
    with pytest.raises(ConfigError, match=r"a name is lower-case words"):
        write(tmp_path, [], name)
    assert not list(tmp_path.iterdir())


def test_keywords_are_escaped_wherever_they_stand(trait):
    class Stream(Query):
        """Keywords."""

        returns = list[Point]
        record: str
        use: U32

    text = package_of(trait(Stream, name="resource")).text
    assert "package pie:%resource@1.0.0;" in text
    assert "interface %resource {" in text
    assert "%stream: func(q: u32, %record: string, %use: u32) -> result<list<point>, error>;" in text
    assert "import pie:%resource/%resource@1.0.0;" in world([trait(Stream, name="resource")])


def test_a_record_named_like_a_keyword_is_escaped(traits):
    (allocate,) = [package.text for package in packages(traits) if package.name == "pie:allocate"]
    assert "record %export {" in allocate
    assert "exported-kvpages: func() -> result<list<%export>, error>;" in allocate


class Tree(msgspec.Struct):
    children: list["Tree"]


class Empty(msgspec.Struct):
    pass


class Error(msgspec.Struct):
    why: str


class Wide(msgspec.Struct):
    tall: U32
    Tall: U32


class Odd(msgspec.Struct):
    size: Annotated[int, Integer(24)]


class Foreign(msgspec.Struct):
    what: dict[str, int]


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (Tree, "Tree holds itself"),
        (Empty, "Empty has no fields"),
        (Error, "2 things are named 'error'"),
        (Wide, "2 things are named 'tall'"),
        (Odd, "Odd.size: 'u24' cannot be put in WIT"),
        (Foreign, r"Foreign.what: dict\[str, int\] is not a type a call can carry"),
        (Annotated[int, Integer(24)], "'u24' cannot be put in WIT"),
        (list[Reads[KvPage]], "'list<list<kvpage>>' cannot be put in WIT"),
        (list[type(None)], "'list<none>' cannot be put in WIT"),
    ],
)
def test_what_wit_cannot_say_is_refused_naming_trait_and_call(trait, annotation, why):
    class TakeIt(Query):
        """Take."""

        returns = annotation

    with pytest.raises(DeclarationError, match=why) as refused:
        package_of(trait(TakeIt))
    assert "trait 'acme'" in str(refused.value)
    assert "take_it" in str(refused.value) or "things are named" in str(refused.value)


def test_a_parameter_that_wit_cannot_say_is_refused_by_name(trait):
    class Take(Query):
        """Take."""

        größe: U32

    with pytest.raises(DeclarationError, match=r"trait 'acme', call 'take', parameter 'größe': .* no form in WIT"):
        package_of(trait(Take))


def test_two_calls_of_one_wit_name_are_refused(trait):
    class Look(Command):
        """Look."""

        returns = str

    class LookResult(Query):
        """What was seen."""

    with pytest.raises(DeclarationError, match=r"trait 'acme'.*2 things are named 'look-result'"):
        package_of(trait(Look, LookResult))


@pytest.mark.parametrize("name", ["core", "inferlet", "types", "tickets", "source", "runtime"])
def test_names_of_the_core_are_not_for_traits(trait, name):
    with pytest.raises(DeclarationError, match=f"trait '{name}': the name is pie-core's own"):
        package_of(trait(name=name))


@pytest.mark.parametrize(
    ("version", "semantic"),
    [("1", "1.0.0"), ("1.2", "1.2.0"), ("0.3.4", "0.3.4"), ("2.0rc1", "2.0.0-rc.1"), ("2.0.1b3", "2.0.1-beta.3")],
)
def test_a_version_becomes_a_semantic_one(trait, version, semantic):
    assert package_of(trait(version=version)).version == semantic


@pytest.mark.parametrize("version", ["1.2.3.4", "1.0.post1", "1.0.dev2", "1!2.0", "1.0+local"])
def test_a_version_that_is_not_semantic_is_refused(trait, version):
    with pytest.raises(DeclarationError, match=r"trait 'acme': version .* has no form in WIT"):
        package_of(trait(version=version))


def test_docs_are_free_of_what_wit_forbids(trait):
    class Take(Query):
        """Take \u202eback\x07."""

    assert "/// Take back.\n" in package_of(trait(Take)).text


def parse(directory: Path, name: str, out: Path) -> str:
    """Let componentize-py parse a WIT directory; its Python bindings, all in one."""
    start = "from componentize_py import script; import sys; sys.argv[0] = 'componentize-py'; sys.exit(script())"
    done = subprocess.run(
        [sys.executable, "-c", start, "-d", directory, "-w", name, "bindings", out],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return "\n".join(path.read_text() for path in sorted(out.rglob("*.py")))


def test_another_parser_takes_the_installed_traits(traits, tmp_path):
    files = write(tmp_path / "wit", traits, source=True)
    assert [str(path.relative_to(tmp_path)) for path in files[:2]] == ["wit/inferlet.wit", "wit/deps/core/core.wit"]
    python = parse(tmp_path / "wit", "inferlet", tmp_path / "out")
    for trait in (RUNTIME, *traits):
        for call in trait.signatures:
            assert f"def {call}(" in python


def test_another_parser_takes_every_keyword_as_a_name(trait, tmp_path):
    calls = []
    for word in sorted(KEYWORDS):
        fields = [(word.replace("-", "_"), U32)]
        record = msgspec.defstruct(word.replace("-", "_").title() + "Type", fields)

        class Keyword(Command):
            """Say a word."""

            name = word.replace("-", "_")
            returns = record

        calls.append(Keyword)
    write(tmp_path / "wit", [trait(*calls, name="variant"), trait(name="top_2")])
    python = parse(tmp_path / "wit", "inferlet", tmp_path / "out")
    assert all(f"def {word.replace('-', '_')}_result(" in python for word in KEYWORDS - {"error-context"})


def test_several_worlds_share_a_directory(traits, tmp_path):
    write(tmp_path / "wit", traits, "one")
    write(tmp_path / "wit", traits, "other")
    assert "def tokenize(" in parse(tmp_path / "wit", "other", tmp_path / "out")


def test_a_directory_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write(tmp_path / "file", [])
