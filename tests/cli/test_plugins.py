"""`pie-core plugins`: a list that imports nothing, and a check that does."""

import json


def test_the_list_shows_kind_name_package_version_and_interface(pie_core):
    done = pie_core.run("plugins")
    assert done.returncode == 0
    assert ["backends", "fake", "pie-fake", "1.0", "1"] in [line.split() for line in done.stdout.splitlines()]


def test_listing_imports_no_plugin(pie_core_with, package):
    broken = package("pie-broken", "[pie_core.traits]\nbroken = pie_broken\n", "raise OSError('libnothing.so')")
    done = pie_core_with(broken).run("plugins", "--json")
    assert done.returncode == 0
    (row,) = [row for row in json.loads(done.stdout) if row["name"] == "broken"]
    assert row == {
        "kind": "traits",
        "name": "broken",
        "package": "pie-broken",
        "version": "2.0",
        "api": ["1"],
        "target": "pie_broken",
        "traits": None,
        "problem": None,
    }


def test_check_loads_each_and_tells_what_is_wrong_with_which_package(pie_core_with, package):
    broken = package("pie-broken", "[pie_core.traits]\nbroken = pie_broken\n", "raise OSError('libnothing.so')")
    done = pie_core_with(broken).run("plugins", "--check")
    assert done.returncode == 1
    assert done.stderr.startswith("traits.broken: ")
    assert done.stderr.count("\n") == 1
    assert "pie-broken 2.0" in done.stderr
    assert "OSError: libnothing.so" in done.stderr


TRAITS = """
from pie_core import ANY, HandlerSpec, Trait, hookimpl

@hookimpl
def pie_trait():
    return Trait("dance", "1.0.0", "Dance.", ())

@hookimpl
def pie_handlers():
    return [HandlerSpec("dance>=1", ANY, lambda ground: object())]
"""


def test_check_tells_which_traits_each_brings_or_realizes(pie_core_with, package):
    points = "[pie_core.traits]\ndance = pie_dance\n[pie_core.handlers]\nany.dance = pie_dance\n"
    done = pie_core_with(package("pie-dance", points, TRAITS)).run("plugins", "--check", "--json")
    traits = {(row["kind"], row["name"]): row["traits"] for row in json.loads(done.stdout)}
    assert traits["traits", "dance"] == traits["handlers", "any.dance"] == ["dance"]
    text = ["allocate", "forward", "input_text", "output_text", "tokenize"]
    assert traits["handlers", "fake.text"] == text
    assert set(traits["backends", "fake"]) >= {*text, "dance"}  # and those of other handlers for any backend
    assert traits["suites", "forward"] == ["forward"]
    assert traits["models", "fake"] is None


def test_a_package_for_another_interface_is_shown_and_not_imported(pie_core_with, package):
    points = "[pie_core.traits]\nnovel = pie_novel\n[pie_core.api]\n2 = pie_core\n3 = pie_core\n"
    commands = pie_core_with(package("pie-novel", points, "raise SystemExit('imported')"))
    done = commands.run("plugins")
    assert done.returncode == 0
    assert ["traits", "novel", "pie-novel", "2.0", "2", "3"] in [line.split() for line in done.stdout.splitlines()]
    assert "was written for plugin interface 2 or 3, and pie-core" in done.stderr
    assert "pip install --upgrade pie-core pie-novel" in done.stderr and "imported" not in done.stderr
    checked = commands.run("plugins", "--check", "novel")
    assert (checked.returncode, "plugin interface 2 or 3" in checked.stderr) == (1, True)


def test_a_clash_is_shown_even_without_check(pie_core_with, package):
    rival = package("pie-rival", "[pie_core.backends]\nfake = pie_rival\n")
    done = pie_core_with(rival).run("plugins")
    assert "backends.fake: brought by pie-fake and pie-rival" in done.stderr
    assert "--prefer" in done.stderr


def test_a_preferred_package_wins_a_clash(pie_core_with, package, programs):
    rival = package("pie-rival", "[pie_core.backends]\nfake = pie_rival\n")
    commands = pie_core_with(rival)
    clash = commands.run_fake("-i", programs / "echo.py", stdin="bye\n")
    assert (clash.returncode, "pie-rival 2.0" in clash.stderr) == (1, True)
    done = commands.run_fake("--prefer", "pie-fake", "-i", programs / "echo.py", stdin="bye\n")
    assert (done.stdout, done.returncode) == ("done\n", 0)


def test_a_name_lists_only_what_is_called_so(pie_core):
    done = pie_core.run("plugins", "fake", "--json")
    assert {(row["kind"], row["name"]) for row in json.loads(done.stdout)} == {("backends", "fake"), ("models", "fake")}
    unknown = pie_core.run("plugins", "--check", "fakes")
    assert (unknown.returncode, "did you mean 'fake'?" in unknown.stderr) == (1, True)


def test_check_runs_the_suites_that_concern_a_backend_and_a_trait(pie_core):
    less = [option for trait in ("grammar", "decode_guided") for option in ("--without", f"traits.{trait}")]  # long
    done = pie_core.run("plugins", "--check", "fake", "-o", "embeds=1024", *less)
    assert (done.returncode, done.stderr) == (0, "")
    counts = [line.partition(":") for line in done.stdout.splitlines()[1:]]
    traits = ("Allocate", "Decode", "Forward", "InputText", "OutputText", "Tokenize")
    assert [name for name, _, _ in counts] == ["BackendSuite", *(f"{trait}Suite" for trait in traits)]
    assert all(text.split()[0] == text.split()[2] != "0" for _, _, text in counts)
    one = pie_core.run("plugins", "--check", "tokenize", "--backend", "fake", "--model", "fake", "-o", "embeds=1024")
    assert (one.returncode, one.stdout.count("Suite")) == (0, 1)


BROKEN = """
from pie_core import BackendSpec, HandlerSpec, hookimpl
from pie_core.testing.fake import FakeHandler
from pie_fake import FakeOptions, load

class Silent(FakeHandler):
    def tokenize(self, query):
        return []

@hookimpl
def pie_backend():
    return BackendSpec("silent", "Knows no token.", FakeOptions, load)

@hookimpl
def pie_handlers():
    traits = ("allocate", "forward", "input_text", "tokenize", "output_text")
    return [HandlerSpec(f"{trait}>=1,<2", "silent", Silent) for trait in traits]
"""


def test_check_names_each_case_that_fails_and_where(pie_core_with, package):
    points = "[pie_core.backends]\nsilent = pie_silent\n[pie_core.handlers]\nsilent.text = pie_silent\n"
    commands = pie_core_with(package("pie-silent", points, BROKEN))
    less = [option for trait in ("decode", "decode_guided", "grammar") for option in ("--without", f"traits.{trait}")]
    done = commands.run("plugins", "--check", "silent", "--model", "fake", "-o", "embeds=1024", *less)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    case = "TokenizeSuite.test_the_tokens_of_a_text_give_the_text_back: AssertionError: "
    (line,) = [line for line in lines if line.startswith(case)]
    assert "tokenize.py:" in line
    assert all(line.startswith("TokenizeSuite.") for line in lines)


def test_check_says_what_the_suites_need(pie_core):
    done = pie_core.run("plugins", "--check", "fake")
    assert done.returncode == 1
    assert "the suites need 512 embeds, the backend has 256" in done.stderr


def test_check_of_handlers_runs_the_suites_of_their_traits_alone(pie_core_with, package):
    points = "[pie_core.traits]\ndance = pie_dance\n[pie_core.handlers]\nany.dance = pie_dance\n"
    options = ["--backend", "fake", "--model", "fake", "-o", "embeds=1024"]
    done = pie_core_with(package("pie-dance", points, TRAITS)).run("plugins", "--check", "any.dance", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.partition(":")[0] for line in done.stdout.splitlines()[1:]] == ["dance (derived)"]


def test_check_of_a_trait_runs_its_suite_also_where_its_package_brings_programs_of_that_name(pie_core_with, package):
    programs = package("pie-programs", "[pie_core.inferlets]\ntokenize = pie_programs\n", PROGRAMS)
    options = ["--backend", "fake", "--model", "fake", "-o", "embeds=1024"]
    done = pie_core_with(programs).run("plugins", "--check", "tokenize", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.partition(":")[0] for line in done.stdout.splitlines()[1:]] == ["TokenizeSuite"]


PROGRAMS = """
from pathlib import Path
from pie_core import hookimpl

@hookimpl
def pie_programs():
    return Path(__file__).parent
"""
