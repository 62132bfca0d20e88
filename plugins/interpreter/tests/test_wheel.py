"""The wheel, built and installed as a user would. Slow: up to a minute, most of it componentize-py and the compiler."""

import asyncio
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from pie_core.application.wasm.cache import ComponentCache
from pie_core.application.wasm.prebuilt import find_prebuilt
from pie_core.application.wasm.tier import WasmTier
from pie_core.plugins import Selection, discover, load
from pie_core.testing import run_inferlet

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
MODULE = "pie_python_interpreter"
PROGRAM = """
from inferlet import *

async def main():
    q = get_auto_model().create_queue()
    emb = alloc_emb(q, 1)
    embed_txt(q, 1, 0, emb)
    await synchronize(q)
    return "it ran"
"""


def pip(*arguments):
    ran = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A directory with the installed wheel."""
    built = tmp_path_factory.mktemp("dist")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(built), str(ROOT))
    (wheel,) = built.glob("*.whl")
    assert "-py3-none-any" not in wheel.name
    site = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    return site


@pytest.fixture
def installed(site, monkeypatch):
    """The wheel's package is the one that Python finds."""
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop(MODULE, None)


def ours(prefix="pie-traits-text"):
    """The traits of one package, or of all of ours. The wheel has an interpreter for either."""
    return [load(plugin) for plugin in discover("traits") if plugin.package.startswith(prefix)]


class WorkStarted(Exception):
    """Something was about to be built or compiled."""


def refuse(text):
    raise WorkStarted(text)


def start(cache, traits):
    """Warm a tier up and run a program; work that takes seconds is not even begun."""

    async def run():
        tier = WasmTier(traits, cache, refuse)
        try:
            await tier.warm_up()
            return await run_inferlet(PROGRAM, tier=tier)
        finally:
            tier.close()  # also where it was never warm: it has processes of its own

    return asyncio.run(run()).ended


@pytest.mark.parametrize("prefix", ["pie-traits-text", "pie-traits-"])
def test_with_the_wheel_a_first_run_builds_nothing_and_compiles_nothing(installed, tmp_path, prefix):
    cache = ComponentCache(tmp_path / "cache" / "components", prebuilt=find_prebuilt(Selection()))
    assert [directory.is_relative_to(installed) for directory in cache.prebuilt] == [True]
    ended = start(cache, reversed(ours(prefix)))
    assert (ended.status, ended.value, ended.error) == ("finished", "it ran", None)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_wheel_for_other_traits_is_passed_over(installed, tmp_path):
    """The wheel is for five traits, and for all of ours; for four the interpreter has to be built."""
    fewer = [trait for trait in ours() if trait.name != "tokenize"]
    cache = ComponentCache(tmp_path / "cache" / "components", prebuilt=find_prebuilt(Selection()))
    with pytest.raises(
        WorkStarted, match="building the interpreter component for allocate, forward, input_text, output"
    ):
        start(cache, fewer)


def test_the_wheel_can_be_left_out(installed):
    assert find_prebuilt(Selection(without=frozenset({"interpreters.text"}))) == []


def test_a_wheel_is_not_made_with_other_versions_than_it_demands():
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    hook.check_installed(["pie-core>=0.1"])
    with pytest.raises(RuntimeError, match=r"jinja2 .* is installed, and pyproject.toml says jinja2==2.0"):
        hook.check_installed(["jinja2==2.0"])
    with pytest.raises(RuntimeError, match="not-there is not installed here"):
        hook.check_installed(["not-there"])
