"""`pie-core plugins`: a list that imports nothing, and a check that does."""

import json


def test_the_list_shows_kind_name_package_and_version(pie_core):
    done = pie_core.run("plugins")
    assert done.returncode == 0
    assert ["backends", "fake", "pie-fake", "1.0"] in [line.split() for line in done.stdout.splitlines()]


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
        "target": "pie_broken",
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
