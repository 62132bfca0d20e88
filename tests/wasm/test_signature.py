"""The check of a component's imports: what fits is linked, what does not is told, all of it, in one message."""

from __future__ import annotations

import pytest
from wasmtime import Config, Engine, _ffi
from wasmtime.component import Component

from pie_core import U32, Command, ControlCall, TraitError
from pie_core.application.runtime import RUNTIME
from pie_core.application.wasm.reflection import MAX_NODES, reflect
from pie_core.application.wasm.signature import MAX_PROBLEMS, check_imports, serves
from pie_core.application.wasm.wit import package_of, packages

ERROR = """
    (type $r (record (field "code" string) (field "message" string)))
    (export "error" (type $error (eq $r)))
"""


class Look(Command):
    """Look around."""

    returns = str
    n: U32


class LetGo(ControlCall):
    """Let go."""


@pytest.fixture
def acme(trait):
    """A trait with `look`, `look-result` and `let-go`."""
    return trait(Look, LetGo, name="acme_eyes", version="1.2.0")


@pytest.fixture
def refusal(imports, engine, acme):
    """`refusal(lines)`: what the check says of a component with these imports, without its first line."""

    def refuse(*lines, **more):
        with pytest.raises(TraitError) as refused:
            check_imports(imports(*lines), engine, [acme], "eyes.wasm", **more)
        heading, *wrong = str(refused.value).split("\n- ")
        assert heading == "eyes.wasm imports what this server does not have:"
        return wrong

    return refuse


def test_all_that_is_installed_can_be_imported(traits, imports, engine, wat):
    paths = [(package.path(i), package, i) for package in packages(traits) for i in package.interfaces]
    lines = [wat(path, interface.functions) for path, _, interface in paths]
    linked = check_imports(imports(*lines), engine, traits)
    assert [(found.name, found.package, found.interface) for found in linked] == paths
    assert all(found.functions == found.interface.functions for found in linked)


def test_every_function_of_every_trait_reads_back_as_it_was_declared(traits, imports, engine, wat):
    for trait in (RUNTIME, *traits):
        declared = package_of(trait).interface.functions
        ((_, item),) = imports(wat("pie:any/any@1.0.0", declared)).items()
        found = {name: item.ty for name, item in item.ty.exports(engine).items()}
        for function in declared:
            assert reflect(function.name, found[function.name]).signature(False) == function.signature(False)


def test_a_part_of_an_older_interface_is_linked_under_the_name_it_was_built_against(imports, engine, acme, wat):
    name = "pie:acme-eyes/acme-eyes@1.0.0"
    every = package_of(acme).interface.functions
    (found,) = check_imports(imports(wat(name, [every[2], every[0]])), engine, [acme])
    assert (found.name, found.package.version) == (name, "1.2.0")
    assert [(function.name, function.call) for function in found.functions] == [("look", "look"), ("let-go", "let_go")]


def test_types_and_wasi_need_no_link(imports, engine, acme):
    found = imports(
        f'(import "pie:core/types@1.0.0" (instance $types {ERROR}))',
        '(alias export $types "error" (type $own))',
        '(import "error" (type (eq $own)))',
        '(import "wasi:cli/environment@0.2.6" (instance (export "whatever" (func))))',
    )
    (types,) = check_imports(found, engine, [acme])
    assert (types.name, types.functions) == ("pie:core/types@1.0.0", ())


@pytest.mark.parametrize(
    ("package", "brought_by"), [("acme-nose", "pie-trait-acme-nose"), ("forward", "pie-traits-text")]
)
def test_a_trait_that_is_missing_is_told_with_the_package_that_brings_it(refusal, package, brought_by):
    (wrong,) = refusal(f'(import "pie:{package}/{package}@1.0.0" (instance))')
    assert wrong.startswith(f"pie:{package}/{package}@1.0.0: trait {package.replace('-', '_')} is not installed; ")
    assert brought_by in wrong


def test_a_trait_that_is_installed_but_unusable_is_told_with_the_reason(refusal):
    (wrong,) = refusal(
        '(import "pie:acme-ears/acme-ears@1.0.0" (instance))', problems={"acme_ears": "backend 'fake' has no handler"}
    )
    assert wrong.endswith("trait acme_ears cannot be used: backend 'fake' has no handler")


@pytest.mark.parametrize("version", ["@1.3.0", "@1.2.1", "@2.0.0", "@0.9.0", "@1.2.0-rc.1", ""])
def test_another_version_is_told_with_what_is_needed_and_what_is_installed(refusal, version):
    (wrong,) = refusal(f'(import "pie:acme-eyes/acme-eyes{version}" (instance))')
    needed = version.removeprefix("@") or "without a version"
    assert f": trait acme_eyes {needed} is needed, 1.2.0 is installed; " in wrong
    assert "pie-core wit" in wrong


def test_another_version_of_the_core_is_told(refusal):
    (wrong,) = refusal('(import "pie:core/runtime@7.0.0" (instance))')
    assert "pie:core 7.0.0 is needed, 1.0.0 is installed" in wrong


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('"acme:db/store@1.0.0" (instance)', "an unknown interface"),
        ('"pie:acme-eyes/acme-eye@1.2.0" (instance)', "trait acme_eyes has no interface 'acme-eye'; did you mean"),
        ('"pie:core/sauce@1.0.0" (instance)', "pie:core has no interface 'sauce'; did you mean 'source'"),
        ('"look" (func)', "not an interface"),
        ('"pie" (instance)', "not an interface"),
        ('"wasi" (func)', "not an interface"),
        ('"thing" (type (sub resource))', "not an interface"),
    ],
)
def test_an_import_that_is_no_interface_of_the_server_is_told(refusal, line, why):
    (wrong,) = refusal(f"(import {line})")
    assert wrong.startswith(line.split('"')[1] + ": " + why)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('(export "loook" (func))', "trait acme_eyes 1.2.0 has no function 'loook'; did you mean 'look'"),
        ('(export "eye" (type (sub resource)))', "trait acme_eyes 1.2.0 has no resource or nested item 'eye'"),
        ('(export "look" (type (sub resource)))', "'look' is a function, not a resource or nested item"),
        ('(export "look" (instance))', "'look' is a function, not a resource or nested item"),
    ],
)
def test_what_an_interface_does_not_have_is_told(refusal, line, why):
    (wrong,) = refusal(f'(import "pie:acme-eyes/acme-eyes@1.2.0" (instance {line}))')
    assert wrong.startswith(f"pie:acme-eyes/acme-eyes@1.2.0: {why}")


def test_another_signature_is_told_with_both(refusal):
    (wrong,) = refusal('(import "pie:acme-eyes/acme-eyes@1.2.0" (instance (export "look" (func (param "n" string)))))')
    assert wrong.splitlines() == [
        "pie:acme-eyes/acme-eyes@1.2.0: function 'look' has another signature",
        "    the component has  look: func(n: string)",
        "    trait acme_eyes 1.2.0 has  look: func(q: u32, n: u32) -> "
        "result<u64, record { code: string, message: string }>",
    ]


SIGNATURE = '(func (param "q" u32) (param "n" u32) (result (result u64 (error $error))))'


@pytest.mark.parametrize(
    ("record", "function", "shown"),
    [
        ("", SIGNATURE.replace('"n" u32', '"n" s32'), "n: s32"),
        ("", SIGNATURE.replace('"n"', '"m"'), "m: u32"),
        ("", SIGNATURE.replace('(param "n" u32)', ""), "func(q: u32) ->"),
        ("", SIGNATURE.replace("u64 ", ""), "result<_, record"),
        ("", SIGNATURE.replace("(error $error)", ""), "result<u64>"),
        ("", SIGNATURE.replace("u64 (error $error)", ""), "-> result"),
        ('(field "code" u32) (field "message" string)', SIGNATURE, "record { code: u32, message: string }"),
        ('(field "message" string) (field "code" string)', SIGNATURE, "record { message: string, code: string }"),
        ("", SIGNATURE.replace('"n" u32', '"n" (option u32)'), "n: option<u32>"),
        ("", SIGNATURE.replace('"n" u32', '"n" (list char)'), "n: list<char>"),
        ("", SIGNATURE.replace('"n" u32', '"n" (tuple u8 f32)'), "n: tuple<u8, f32>"),
    ],
)
def test_any_difference_of_structure_is_another_signature(refusal, record, function, shown):
    fields = record or '(field "code" string) (field "message" string)'
    (wrong,) = refusal(
        f'(import "pie:acme-eyes/acme-eyes@1.2.0" (instance (type $r (record {fields})) '
        f'(export "e" (type $error (eq $r))) (export "look" {function})))'
    )
    has = wrong.splitlines()[1]
    assert has.startswith("    the component has  look: func(")
    assert shown in has


@pytest.mark.parametrize(
    ("declared", "shown"),
    [
        ('(type $x (variant (case "a" u32) (case "use")))', "variant { a(u32), %use }"),
        ('(type $x (enum "a" "b"))', "enum { a, b }"),
        ('(type $x (flags "a" "b"))', "flags { a, b }"),
    ],
)
def test_types_that_no_declaration_has_are_shown(refusal, declared, shown):
    (wrong,) = refusal(
        f'(import "pie:acme-eyes/acme-eyes@1.2.0" (instance {declared} (export "x" (type $y (eq $x))) '
        '(export "look" (func (param "n" $y)))))'
    )
    assert f"look: func(n: {shown})" in wrong


def test_resources_futures_and_streams_are_another_signature(refusal):
    wrong = refusal(
        '(import "pie:acme-eyes/acme-eyes@1.2.0" (instance (export "eye" (type $eye (sub resource))) '
        '(export "look" (func (param "a" (own $eye)) (param "b" (borrow $eye))))'
        '(export "let-go" (func (param "f" (future u32)) (param "s" (stream u8))))))'
    )
    assert any("look: func(a: own<resource>, b: borrow<resource>)" in problem for problem in wrong)
    assert any("let-go: func(f: future, s: stream)" in problem for problem in wrong)


def test_a_kind_of_type_that_wasmtime_py_does_not_know_is_refused(acme):
    config = Config()
    _ffi.wasmtime_config_wasm_component_model_map_set(config.ptr(), True)
    engine = Engine(config)
    look = '(export "look" (func (param "n" (list (map string u8)))))'
    component = Component(engine, f'(component (import "pie:acme-eyes/acme-eyes@1.2.0" (instance {look})))')
    with pytest.raises(TraitError, match="'look' cannot be linked: its type is unknown to this server"):
        check_imports(component.type.imports(engine), engine, [acme])


def test_all_that_is_wrong_is_told_at_once(refusal):
    wrong = refusal(
        '(import "acme:db/store@1.0.0" (instance))',
        '(import "pie:acme-nose/acme-nose@1.0.0" (instance))',
        '(import "pie:core/runtime@2.0.0" (instance))',
        '(import "pie:acme-eyes/acme-eyes@1.2.0" (instance (export "see" (func)) (export "look" (func))))',
    )
    assert [problem.split(":")[1] for problem in wrong] == [
        "db/store@1.0.0", "acme-nose/acme-nose@1.0.0", "core/runtime@2.0.0", "acme-eyes/acme-eyes@1.2.0",
        "acme-eyes/acme-eyes@1.2.0",
    ]  # fmt: skip


def test_the_message_has_an_end(refusal):
    wrong = refusal(*(f'(import "acme:a{n}/b@1.0.0" (instance))' for n in range(MAX_PROBLEMS + 7)))
    assert (len(wrong), wrong[-1]) == (MAX_PROBLEMS + 1, "and 7 more")


def test_a_type_that_doubles_with_every_level_is_refused_before_it_is_read(refusal):
    levels = "(type $t0 (tuple u32 u32))" + "".join(f"(type $t{n} (tuple $t{n - 1} $t{n - 1}))" for n in range(1, 15))
    (wrong,) = refusal(
        f'(import "pie:acme-eyes/acme-eyes@1.2.0" (instance {levels} (export "look" (func (param "n" $t14)))))'
    )
    assert wrong.endswith(f"function 'look' cannot be linked: its type is made of more than {MAX_NODES} types")


@pytest.mark.parametrize(
    ("installed", "needed", "fits"),
    [
        ("1.0.0", "1.0.0", True), ("1.2.3", "1.0.0", True), ("1.2.3", "1.2.4", False), ("2.0.0", "1.0.0", False),
        ("1.0.0", "2.0.0", False), ("0.3.4", "0.3.1", True), ("0.4.0", "0.3.1", False), ("0.3.0", "0.3.1", False),
        ("0.0.2", "0.0.2", True), ("0.0.3", "0.0.2", False), ("0.1.0", "0.0.2", False), ("1.0.0", "0.9.0", False),
        ("0.0.1", "0.0.0", False), ("1.0.0", "1.0.0-rc.1", False), ("1.0.0-rc.1", "1.0.0-rc.1", True),
        ("1.1.0-rc.1", "1.0.0", False), ("10.2.0", "10.1.9", True), ("1.0.0", "", False), ("1.0.0", "1", False),
    ],
)  # fmt: skip
def test_versions_serve_as_semantic_versioning_says(installed, needed, fits):
    assert serves(installed, needed) is fits
