"""What a program may be, and what is said about one that is not."""

import pytest

from pie_core import PluginError, ProgramError
from pie_core.application.manifest import Manifest, parse_flags, read_manifest
from pie_core.application.program import Program, find_program, installed_programs, read_program
from pie_core.plugins import Selection

GOOD = "async def main():\n    pass\n"


def compile_(source):
    return Program("p", source, "p.py").compile()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "p.py defines no `main`; a program starts at `async def main"),
        ("async def mein(): pass", "defines no `main`"),
        ("class A:\n    async def main(self): pass", "defines no `main`"),
        ("x = 1\ndef main(): pass", "p.py:2: `main` must be `async def main"),
        ("async def main(argument): pass", "p.py:1: `main` takes no arguments; use get_arg"),
        ("async def main():\n    retrun 5 5", "p.py:2:12 does not compile: SyntaxError: invalid syntax"),
        ("async def main(): pass\nreturn 5", "p.py:2:1 does not compile: SyntaxError: 'return' outside function"),
        ("async def main(): pass\nawait x", "does not compile: SyntaxError: 'await' outside"),
        ("async def main():\n  if 1:\n pass", "p.py:3.* does not compile: IndentationError"),
        ("async def main(): pass\n\0", "does not compile"),
        (GOOD + "x = " + "(" * 5000 + ")" * 5000, "does not compile"),
        (GOOD + "x = " + "-" * 100_000 + "1", "does not compile"),
    ],
)
def test_a_program_that_cannot_start_is_refused_with_file_line_and_reason(source, message):
    with pytest.raises(ProgramError, match=message):
        compile_(source)


def test_the_last_main_counts_as_python_would_have_it():
    compile_("def main(): pass\n" + GOOD)
    with pytest.raises(ProgramError):
        compile_(GOOD + "def main(): pass")


CALLS = ("forward", "embed_txt", "send")


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("from inferlet import forward, Context", {"forward"}),
        ("from inferlet import forward as f", {"forward"}),
        ("import inferlet\ninferlet.embed_txt", {"embed_txt"}),
        ("import inferlet as pie\npie.embed_txt", {"embed_txt"}),
        ("from inferlet import *\nembed_txt()", {"embed_txt"}),
        ("from inferlet import *\n", set()),
        ("def forward(): pass\nforward()", set()),
        ("import other\nother.forward()", set()),
        ("async def main():\n    from inferlet import send", {"send"}),
    ],
)
def test_the_calls_a_program_uses_are_read_off_its_imports(source, used):
    assert Program("p", source, "p.py").calls(CALLS) == used


# manifests


def block(*lines):
    return "\n".join(["# /// inferlet", *(f"# {line}".rstrip() for line in lines), "# ///", GOOD])


def test_a_program_without_a_manifest_has_the_defaults():
    assert read_manifest(GOOD, "p.py") == Manifest()


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_manifest_is_read_with_any_line_ends(ends):
    source = block('description = "D"', "", 'traits = ["forward"]', "[flags.steps]", "default = 4", 'help = "H"')
    manifest = read_manifest(source.replace("\n", ends), "p.py")
    assert (manifest.description, manifest.traits) == ("D", ("forward",))
    assert (manifest.flags["steps"].default, manifest.flags["steps"].help) == (4, "H")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (block("traits = forward"), "p.py: the `# /// inferlet` block is not right: Invalid value"),
        (block('trait = ["forward"]'), "unknown field `trait`"),
        (block('traits = "forward"'), "Expected `array`.*traits"),
        (block("[flags.x]"), "missing required field `default`.*flags"),
        (block("[flags.x]", "default = [1]"), "Expected `str | int | float | bool`"),
        (block("[flags.x]", "default = 1", 'type = "int"'), "unknown field `type`"),
        (block("[flags.max-tokens]", "default = 1"), "flag 'max-tokens': a name is lower_snake_case"),
        ("# /// inferlet\n# description = 'x'\n" + GOOD, "does not end; close it with a line"),
        (block() + block(), "is there twice"),
    ],
)
def test_a_wrong_manifest_is_an_error_that_names_the_field_and_never_ignored(source, message):
    with pytest.raises(ProgramError, match=message):
        read_manifest(source, "p.py")


FLAGS = read_manifest(
    block(
        "[flags.prompt]", 'default = "Hello"', "[flags.max_tokens]", "default = 8", "[flags.heat]", "default = 0.5",
        "[flags.chat]", "default = false", "[flags.stream]", "default = true",
    ),
    "p.py",
)  # fmt: skip
DEFAULTS = {"prompt": "Hello", "max_tokens": 8, "heat": 0.5, "chat": False, "stream": True}


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ([], {}),
        (["--prompt", "a b"], {"prompt": "a b"}),
        (["--prompt=a=b"], {"prompt": "a=b"}),
        (["--prompt="], {"prompt": ""}),
        (["--prompt", "--chat"], {"prompt": "--chat"}),
        (["--max-tokens", "3"], {"max_tokens": 3}),
        (["--max_tokens=3"], {"max_tokens": 3}),
        (["--max-tokens", "-3"], {"max_tokens": -3}),
        (["--heat", "1"], {"heat": 1.0}),
        (["--chat", "--no-stream"], {"chat": True, "stream": False}),
        (["--chat=true", "--stream=false"], {"chat": True, "stream": False}),
        (["--no-chat", "--chat"], {"chat": True}),
        (["--heat", "1", "--heat", "2"], {"heat": 2.0}),
    ],
)
def test_flags_are_read_in_every_usual_spelling(arguments, changed):
    values = parse_flags(FLAGS, arguments, "p")
    assert values == DEFAULTS | changed
    assert [type(value) for value in values.values()] == [type(value) for value in DEFAULTS.values()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--promt", "x"], "p: unknown argument '--promt'; its flags are: --prompt, --max-tokens, --heat"),
        (["loose"], "unknown argument 'loose'"),
        (["-p", "x"], "unknown argument '-p'"),
        (["--"], "unknown argument '--'"),
        (["--prompt"], "--prompt needs a value"),
        (["--max-tokens", "many"], "--max-tokens takes int, got 'many'"),
        (["--max-tokens", "1.5"], "--max-tokens takes int, got '1.5'"),
        (["--heat", "hot"], "--heat takes float, got 'hot'"),
        (["--chat=perhaps"], "--chat takes bool, got 'perhaps'"),
        (["--chat", "false"], "unknown argument 'false'"),
        (["--no-prompt", "x"], "unknown argument '--no-prompt'"),
        (["--no-chat=true"], "unknown argument '--no-chat=true'"),
    ],
)
def test_a_wrong_flag_is_an_error_and_never_guessed_at(arguments, message):
    with pytest.raises(ProgramError, match=message):
        parse_flags(FLAGS, arguments, "p")


# finding programs


def test_a_program_is_found_by_path_or_by_the_name_of_an_installed_one(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    assert find_program(str(path)) == Program("mine", GOOD, str(path))
    assert "create_context" in find_program("text_completion").source


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("text_completio", "no program file and no installed program is named.*did you mean 'text_completion'"),
        ("not_there.py", "not_there.py does not exist"),
        (".", "is a directory; name the program's .py or .wasm file"),
    ],
)
def test_a_program_that_is_not_there_is_an_error_that_helps(what, message):
    with pytest.raises(ProgramError, match=message):
        find_program(what)


def test_a_program_that_is_not_text_is_an_error(tmp_path):
    path = tmp_path / "binary.py"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProgramError, match=r"cannot be read as UTF-8 text"):
        read_program(path)


def programs_package(install, tmp_path, package, *names, body=None):
    directory = tmp_path / package
    directory.mkdir()
    for name in names:
        (directory / f"{name}.py").write_text(GOOD)
    source = f"""
        from pathlib import Path
        from pie_core import hookimpl

        @hookimpl
        def pie_programs():
            {body or f"return Path({str(directory)!r})"}
    """
    install(package, {f"{package}_programs": source}, {"pie_core.inferlets": {package: f"{package}_programs"}})


def test_a_package_may_bring_programs(install, tmp_path):
    programs_package(install, tmp_path, "acme", "waltz", "_private")
    found = installed_programs(Selection())
    assert "waltz" in found and "_private" not in found and "text_completion" in found


def test_two_packages_with_a_program_of_one_name_are_an_error_not_a_race(install, tmp_path):
    programs_package(install, tmp_path, "acme", "waltz")
    programs_package(install, tmp_path, "zeta", "waltz")
    with pytest.raises(
        PluginError,
        match=r"packages acme and zeta both bring a program 'waltz'.*--prefer zeta.*--without inferlets.acme",
    ):
        installed_programs(Selection())
    assert "waltz" in installed_programs(Selection(without=frozenset({"inferlets.acme"})))
    for package in ("acme", "zeta"):
        assert installed_programs(Selection(prefer=(package,)))["waltz"].parent.name == package


def test_a_package_may_bring_a_component(install, tmp_path):
    programs_package(install, tmp_path, "acme")
    (tmp_path / "acme" / "polka.wasm").write_bytes(b"\0asm\x0d\0\1\0")
    (tmp_path / "acme" / "notes.txt").write_text("no program")
    assert find_program("polka").wasm is not None
    assert "notes" not in installed_programs(Selection())


def test_one_package_with_a_name_twice_is_an_error_that_names_the_files(install, tmp_path):
    programs_package(install, tmp_path, "acme", "waltz")
    (tmp_path / "acme" / "waltz.wasm").write_bytes(b"\0asm\x0d\0\1\0")
    with pytest.raises(
        PluginError, match=r"'acme' of package acme 1\.0 brings a program 'waltz' twice: .*waltz.py and"
    ):
        installed_programs(Selection(prefer=("acme",)))


@pytest.mark.parametrize("body", ["return 'here'", "return Path('/not/there')", "1 / 0"])
def test_a_package_of_programs_that_fails_does_not_hide_the_others(install, tmp_path, body):
    programs_package(install, tmp_path, "acme", body=body)
    assert "text_completion" in installed_programs(Selection())
