"""Settings: one declaration each, four places that can say them, and no mistake that passes."""

import inspect
import json
import tomllib
from pathlib import Path

import click
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pie_core.application.limits import Limits
from pie_core.application.quotas import Quota
from pie_core.cli import main
from pie_core.cli.config_file import lines_of
from pie_core.cli.options import settings
from pie_core.cli.serve import serve
from pie_core.cli.setting import TableSetting, settings_of

MANUAL = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
FAKE = ["--backend", "torch"]  # its options are read without loading it


@pytest.fixture
def show(invoke, tmp_path):
    """`show(*arguments, config, **environment)`: what `config show` says, by setting; or its error."""
    file = tmp_path / "config.toml"

    def run(*arguments, config=None, **environment):
        more = []
        if config is not None:
            file.write_text(config)
            more = ["--config", file]
        done = invoke("config", "show", "--json", *more, *arguments, **environment)
        if done.exit_code:
            return done.stderr
        rows = json.loads(done.stdout)
        assert len({row["setting"] for row in rows}) == len(rows)
        return {row["setting"]: (row["value"], row["origin"].replace(str(file), "FILE")) for row in rows}

    return run


# one declaration


def row(name, setting):
    """Of the table in the manual."""
    says = max(setting.opts, key=len) if isinstance(setting, click.Option) else name.upper()
    kinds = {
        "boolean": "true or false",
        "integer": "whole number",
        "integer range": "whole number",
        "float range": "number",
    }
    kind = kinds.get(setting.type.name, "text")
    if isinstance(setting, TableSetting):
        kind = "table of a table for each user" if setting.by_user else "table"
    elif getattr(setting, "multiple", False):
        kind = "list of texts"
    return f"| `{name}` | `{says}` | `{setting.envvar}` | {kind} |"


def test_every_option_of_serve_is_a_setting_but_those_that_are_about_the_command_itself():
    names = {parameter.name for parameter in serve.params}
    assert names - set(settings_of(serve)) == {"config", "debug"}
    assert all(parameter.envvar for parameter in settings_of(serve).values())


def test_every_setting_of_every_command_is_one_of_serve():
    for command in main.commands.values():
        assert set(settings_of(command)) <= set(settings_of(serve)), command.name


def test_every_setting_and_entry_is_shown_and_in_the_manual(show):
    shown = show()
    for name, setting in settings_of(serve).items():
        assert row(name, setting) in MANUAL, row(name, setting)
        if not isinstance(setting, TableSetting):
            assert name in shown
        elif setting.fields is not None and not setting.by_user:
            for entry in setting.fields.__struct_fields__:
                assert f"{name}.{entry}" in shown
    for entry in (*Limits.__struct_fields__, *Quota.__struct_fields__):
        assert f"`{entry}`" in MANUAL, entry


def test_what_makes_the_settings_of_the_core_takes_no_option_that_there_is_not():
    assert set(inspect.signature(settings).parameters) <= set(settings_of(serve))


def test_what_is_shown_of_a_table_are_the_defaults_of_the_struct_itself(show):
    shown = show()
    for table, fields in (("limits", Limits), ("quotas", Quota)):
        for name, value in msgspec.structs.asdict(fields()).items():
            assert shown[f"{table}.{name}"] == (value, "default")


# four places


def test_the_command_line_counts_before_the_environment_that_before_the_file_and_that_before_the_default(show):
    config = 'port = 1\nhost = "h1"\ndrain = 1\n[limits]\nwall_s = 1\nhttp_s = 1\ncpu_s = 1\n'
    shown = show(
        "--port", "3", "--limit", "wall_s=3", config=config, PIE_PORT="2", PIE_HOST="h2", PIE_LIMITS="wall_s=2 http_s=2"
    )
    assert {name: shown[name] for name in ("port", "host", "drain", "anonymous")} == {
        "port": (3, "command line"),
        "host": ("h2", "environment (PIE_HOST)"),
        "drain": (1.0, "FILE:3"),
        "anonymous": (False, "default"),
    }
    limits = {name: shown[f"limits.{name}"] for name in ("wall_s", "http_s", "cpu_s", "mail_bytes")}
    assert limits == {
        "wall_s": (3.0, "command line"),
        "http_s": (2.0, "environment (PIE_LIMITS)"),
        "cpu_s": (1.0, "FILE:7"),
        "mail_bytes": (1 << 20, "default"),
    }


EVERYTHING = """
model = "pico"
host = "::1"
port = 7
keys = "keys.json"
anonymous = true
trust_programs = true
drain = 2
backend = "torch"
dispatch = "adaptive"
contention = "swap"
without = ["traits.decode"]
prefer = ["pie-traits-text"]
native = true
allow_hosts = ["*.example.com"]
allow_spawn = true
state_dir = "/var/lib/pie"
trace_file = "/tmp/trace.json"
log_level = "error"
options = { dtype = "float32", pages = 64 }
contention_options = { idle_ms = 1.5 }
quotas.kvpages = 5
limits.max_inferlets = 9
[user_quotas."a.b"]
requests_per_minute = 0.5
"""


def test_everything_can_be_said_in_a_file(show, tmp_path):
    shown = show(config=EVERYTHING)
    assert isinstance(shown, dict), shown
    from_file = {name: value for name, (value, origin) in shown.items() if origin.startswith("FILE:")}
    unsaid = set(settings_of(serve)) - {name.partition(".")[0] for name in from_file}
    assert unsaid == {"dispatch_options"}  # `adaptive` has none
    assert from_file["keys"] == str(tmp_path / "keys.json")  # beside the file
    assert from_file["state_dir"] == "/var/lib/pie"
    assert (from_file["user_quotas.a.b.requests_per_minute"], from_file["options.pages"]) == (0.5, 64)
    assert shown["limits.max_inferlets"] == (9, "FILE:23")


def test_a_file_can_be_overruled_to_no(show):
    assert show("--no-native", config="native = true")["native"] == (False, "command line")
    assert show(config="native = true", PIE_NATIVE="0")["native"] == (False, "environment (PIE_NATIVE)")


def test_the_users_own_file_is_read_unless_another_is_named(show, tmp_path):
    own = tmp_path / "home" / "pie-core" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("port = 5")
    where = {"XDG_CONFIG_HOME": str(tmp_path / "home")}
    assert show(**where)["port"] == (5, f"{own}:1")
    assert show(config="port = 6", **where)["port"] == (6, "FILE:1")
    assert show("--config", "/dev/null", **where)["port"] == (8123, "default")


# no mistake passes


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("\nprot = 1", r"config.toml:2: prot: there is no such setting; did you mean 'port'"),
        ('port = "1"', "config.toml:1: port: expected a whole number, got a text"),
        ("port = true", "port: expected a whole number, got true or false"),
        ("port = 65536", "config.toml:1: port: 65536 is not in the range"),
        ("drain = -1", "drain: -1.0 is not in the range"),
        ("native = 1", "native: expected true or false, got a whole number"),
        ("model = 1", "model: expected a text, got a whole number"),
        ("model = 2026-01-01", "model: expected a text, got a date or time"),
        ('log_level = "loud"', "log_level: 'loud' is not one of"),
        ('without = "a"', "without: expected a list of texts, got a text"),
        ("without = [1]", "without: expected a list of texts, got a list"),
        ('without = ["traits.tokenise"]', "config.toml:1: without: .*did you mean 'traits.tokenize'"),
        ('allow_hosts = ["a b"]', "config.toml:1: allow_hosts: a host to allow"),
        ("limits = 1", "limits: expected a table, got a whole number"),
        ("[limits]\nmax_inferlts = 1", "config.toml:2: limits.max_inferlts: .*did you mean 'max_inferlets'"),
        ('[limits]\n\nmax_inferlets = "5"', "config.toml:3: limits.max_inferlets: expected `int`, got `str`"),
        ("limits.max_inferlets = 0", "limits.max_inferlets: expected `int` >= 1"),
        ("[quotas]\nkvpages = 1.5", r"config.toml:2: quotas.kvpages: expected `int \| null`, got `float`"),
        ("[quotas]\nkvpages = [1]", "quotas.kvpages: expected a text, a number or a truth value, got a list"),
        ("[user_quotas]\nalice = 5", "config.toml:2: user_quotas.alice: expected a table of a user"),
        ("[user_quotas.al]\nkvpage = 5", "config.toml:2: user_quotas.al.kvpage: .*did you mean 'kvpages'"),
        ("[options]\ndtyp = 5", "config.toml:2: options.dtyp: .*did you mean 'dtype'"),
        ('[options]\n# so many\npages = "x"', "config.toml:3: options.pages: .*got `str`"),
        ("x = ", "config.toml is no TOML: .*Invalid value"),
        ("port = 1\nport = 2", "config.toml is no TOML"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_told_with_its_place_and_what_is_right(show, config, says):
    import re

    told = show(*FAKE, config=config)
    assert isinstance(told, str), told
    assert re.search(says, told.replace("\n", " ")), told


def test_a_mistake_in_a_variable_names_it(show):
    assert "environment variable PIE_PORT" in show(PIE_PORT="many")


def test_a_file_that_is_named_and_cannot_be_read_is_an_error(show):
    assert "cannot be read: No such file" in show("--config", "/nonexistent.toml")


def test_help_is_there_whatever_the_file_says(invoke, tmp_path):
    (tmp_path / "config.toml").write_text("nonsense")
    assert invoke("serve", "--help", PIE_CONFIG=str(tmp_path / "config.toml")).exit_code == 0


KEYS = st.text("abc", min_size=1, max_size=2)
VALUES = st.sampled_from(
    ["1", '"x"', "[1,\n  2,\n]", '"""\na = 1\n[b]\n"""', "{ p = 1 }", "'''\n\n'''", "true # a = 2"]
)


@given(st.lists(st.tuples(st.sampled_from(["key", "table", "blank", "comment"]), KEYS, VALUES), max_size=12))
def test_the_lines_are_those_that_a_parser_of_longer_and_longer_beginnings_finds(statements):
    """Oracle: a key's line is behind the longest beginning of the document that can be parsed and lacks the key."""
    text, place, seen = "", "", set()
    for what, key, value in statements:
        full = f"{place}{key}"
        if what in ("key", "table") and full in seen:
            continue
        if what == "table":
            if "." in key or any(other == key or other.startswith(f"{key}.") for other in seen):
                continue
            text, place = f"{text}[{key}]\n", f"{key}."
            seen.add(key)
        elif what == "key":
            text += f"{key} = {value}\n"
            seen.add(full)
        else:
            text += "# a = 1\n" if what == "comment" else "\n"
    tomllib.loads(text)
    lines = text.split("\n")

    def there(said, path):
        for name in path:
            if not isinstance(said, dict) or name not in said:
                return False
            said = said[name]
        return True

    for path, line in lines_of(text).items():
        good = []
        for end in range(len(lines)):
            try:
                good.append((end, tomllib.loads("\n".join(lines[:end]))))
            except tomllib.TOMLDecodeError:
                continue
        assert line == max(end for end, said in good if not there(said, path)) + 1, (path, text)


# the other users of settings


def test_run_takes_the_settings_of_the_core_and_for_a_server_refuses_those_on_its_command_line(pie_core, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('model = "fake"\nbackend = "fake"\nnative = true\nport = 1\n[options]\npages = 5\n')
    program = tmp_path / "pages.py"
    program.write_text(
        "from inferlet import *\nasync def main(): return debug_query(get_auto_model().create_queue(), 'pools')\n"
    )
    done = pie_core.run("run", "--config", file, program)
    assert json.loads(done.stdout)["kvpage"]["capacity"] == 5, done.stderr
    there = pie_core.run("run", "--config", file, "--server", "http://127.0.0.1:1", program)
    assert "no pie-core server answers" in there.stderr
    refused = pie_core.run("run", "--config", file, "--server", "http://127.0.0.1:1", "-o", "pages=5", program)
    assert (refused.returncode, "--option is what the server was started with" in refused.stderr) == (2, True)


def test_no_setting_holds_a_secret():
    names = {p.name for c in main.commands.values() if not isinstance(c, click.Group) for p in c.params}
    assert "api_key" in names - set(settings_of(serve))
