"""`--dispatch` and `--contention`: what is named is what runs, also if a stranger made it."""

from pie_core.client import SyncClient

POLICY = """
import sys

from pie_core import DispatchPolicy, PolicySpec, hookimpl


class Loud(DispatchPolicy):
    name = "acme-loud"

    def due(self, backlog, *, idle, quiet, now):
        print("asked", file=sys.stderr)
        return idle and quiet


@hookimpl
def pie_dispatch():
    return PolicySpec("acme-loud", "Adaptive, and tells.", lambda options: Loud())
"""


def generate(commands, *options):
    return commands.run_fake("text_completion", "--native", "-o", "answer=Paris", *options, "--", "--max-tokens", "3")


def test_a_strangers_policy_is_named_found_and_used(pie_core_with, package):
    commands = pie_core_with(package("acme-loud", "[pie_core.dispatch]\nacme-loud = acme_loud\n", POLICY))
    done = generate(commands, "--dispatch", "acme-loud")
    assert (done.stdout, done.returncode) == ("Par\n", 0)
    assert done.stderr.startswith("asked\n")
    assert generate(commands).stderr == ""


def test_options_of_a_policy_are_set_and_misspelt_ones_refused(pie_core):
    done = generate(pie_core, "--dispatch", "t-only", "--dispatch-option", "t_ms=1", "--contention", "wait")
    assert (done.stdout, done.stderr, done.returncode) == ("Par\n", "", 0)
    for options, message in (
        (("--dispatch", "t-olny"), "did you mean 't-only'"),
        (("--dispatch", "t-only", "--dispatch-option", "tms=1"), "did you mean 't_ms'"),
        (("--dispatch", "t-only", "--dispatch-option", "t_ms=0"), "t_ms is 0"),
        (("--contention", "swapp"), "did you mean 'swap'"),
        (("--contention-option", "idle_ms"), "--contention-option idle_ms: write NAME=VALUE"),
    ):
        done = generate(pie_core, *options)
        assert (done.returncode, message in done.stderr) == (1, True), done.stderr


def test_a_server_has_its_own_policies(pie_core, programs):
    done = pie_core.run("run", "--server", "http://127.0.0.1:1", "--dispatch-option", "k=3", programs / "echo.py")
    assert (done.returncode, "--dispatch-option is what the server was started with" in done.stderr) == (2, True)


def test_ps_shows_what_waits_for_room(pie_core, programs):
    with pie_core.serve("--native", "--contention", "wait", "-o", "pages=12") as (_, url), SyncClient(url) as client:
        first, second = (client.launch(programs / "forever.py") for _ in range(2))
        first.receive()
        while client.list()[1]["held"].get("kvpage") != 8:
            pass
        rows = {line.split()[0]: line for line in pie_core.run("ps", PIE_SERVER=url).stdout.splitlines()}
        assert rows[first.id].rstrip().endswith("1 embed, 8 kvpage")
        assert rows[second.id].rstrip().endswith("1 embed, 8 kvpage (8 waiting or swapped)")
