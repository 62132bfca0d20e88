"""Discover, select, load: what is found, who wins, and what a broken package costs."""

import subprocess
import sys

import pytest

from pie_core import PluginError, Trait
from pie_core.controller import choose
from pie_core.plugins import HOOKS, Selection, discover, load, select, select_named

TRAIT = """
    from pie_core import Trait, hookimpl

    @hookimpl
    def pie_trait():
        return Trait(name={name!r}, version={version!r}, doc="d", calls=(), requires={requires!r})
"""


def trait(name, version="1.0.0", requires=()):
    return TRAIT.format(name=name, version=version, requires=requires)


def only(kind, name):
    [plugin] = [plugin for plugin in discover(kind) if plugin.name == name]
    return plugin


def test_our_traits_arrive_through_entry_points_like_a_strangers():
    found = {plugin.name: plugin.package for plugin in discover("traits")}
    ours = ("allocate", "forward", "input_text", "tokenize", "output_text")
    assert {found[name] for name in ours} == {"pie-traits-text"}
    assert isinstance(load(only("traits", "forward")), Trait)


def test_a_strangers_trait_is_discovered_and_loaded(install):
    install("acme-traits", {"acme_dance": trait("dance")}, {"pie_core.traits": {"dance": "acme_dance"}})
    plugin = only("traits", "dance")
    assert (plugin.package, plugin.version, plugin.target) == ("acme-traits", "1.0", "acme_dance")
    assert load(plugin).name == "dance"


def test_discovering_imports_nothing(install):
    install("acme-bomb", {"acme_bomb": "raise SystemExit('imported')"}, {"pie_core.traits": {"bomb": "acme_bomb"}})
    assert only("traits", "bomb").package == "acme-bomb"
    assert "acme_bomb" not in sys.modules


def test_two_packages_with_one_name_are_an_error_not_a_race(install):
    for package in ("acme", "zeta"):
        install(package, {f"{package}_x": trait("dance")}, {"pie_core.traits": {"dance": f"{package}_x"}})
    with pytest.raises(
        PluginError, match=r"two packages bring traits plugin 'dance': acme 1\.0 and zeta 1\.0.*--prefer"
    ):
        select(discover("traits"), Selection())


@pytest.mark.parametrize("winner", ["acme", "zeta"])
def test_a_preferred_package_wins_a_clash_of_names(install, winner):
    for package in ("acme", "zeta"):
        install(package, {f"{package}_y": trait("dance")}, {"pie_core.traits": {"dance": f"{package}_y"}})
    chosen = select(discover("traits"), Selection(prefer=("unrelated", winner)))
    assert [plugin.package for plugin in chosen if plugin.name == "dance"] == [winner]


def test_a_package_may_be_preferred_in_any_spelling_of_its_name(install):
    for package in ("acme-one", "zeta"):
        install(package, {f"{package[:4]}_z": trait("dance")}, {"pie_core.traits": {"dance": f"{package[:4]}_z"}})
    chosen = select(discover("traits"), Selection(prefer=("Acme_One",)))
    assert [plugin.package for plugin in chosen if plugin.name == "dance"] == ["acme-one"]


def test_a_plugin_that_is_left_out_does_not_clash(install):
    for package in ("acme", "zeta"):
        install(package, {f"{package}_w": trait("dance")}, {"pie_core.traits": {"dance": f"{package}_w"}})
    chosen = select(discover("traits"), Selection(without=frozenset({"traits.dance"})))
    assert "dance" not in [plugin.name for plugin in chosen]


def test_a_package_found_twice_is_the_one_that_python_would_import(install):
    install("acme", {"acme_twice": trait("dance", "1.0.0")}, {"pie_core.traits": {"dance": "acme_twice"}}, "1.0")
    install("acme", {"acme_twice": trait("dance", "2.0.0")}, {"pie_core.traits": {"dance": "acme_twice"}}, "2.0")
    plugin = only("traits", "dance")
    assert plugin.version == "2.0" and load(plugin).version == "2.0.0"  # installed last: first on the path


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import a_module_that_is_not_there", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("def broken(:", "SyntaxError"),
    ],
)
def test_a_plugin_that_fails_to_import_is_named_with_cause_and_remedy(install, source, cause):
    install("acme-broken", {"acme_broken": source}, {"pie_core.traits": {"dance": "acme_broken"}})
    with pytest.raises(PluginError, match=rf"'dance' of package acme-broken 1.0 cannot be imported.*{cause}") as caught:
        load(only("traits", "dance"))
    assert "--without traits.dance" in str(caught.value) and caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1", "implements no hook `pie_trait`"),
        ("def pie_trait(): return 1", "implements no hook `pie_trait`"),  # not marked as an implementation
        (
            "from pie_core import hookimpl\n@hookimpl\ndef pie_trate(): return 1",
            "unknown hook 'pie_trate'",
        ),
        (
            "from pie_core import hookimpl\n@hookimpl\ndef pie_trait(colour): return 1",
            "colour",
        ),
        (
            "from pie_core import hookimpl\n@hookimpl\ndef pie_trait(): raise OSError('disk')",
            "OSError: disk",
        ),
        (
            "from pie_core import hookimpl\n@hookimpl\ndef pie_trait(): return None",
            "implements no hook `pie_trait`",
        ),
    ],
)
def test_a_module_without_the_right_hook_is_an_error_that_says_which(install, source, message):
    install("acme-odd", {"acme_odd": source}, {"pie_core.traits": {"dance": "acme_odd"}})
    with pytest.raises(PluginError, match=message) as caught:
        load(only("traits", "dance"))
    assert "acme-odd" in str(caught.value)


def test_an_unknown_name_gets_the_near_ones_and_the_line_that_would_bring_it(install):
    install("acme", {"acme_v": trait("dance")}, {"pie_core.traits": {"dance": "acme_v"}})
    with pytest.raises(PluginError, match=r"did you mean 'dance'.*usually named pie-trait-dence"):
        select_named("traits", "dence", Selection())
    with pytest.raises(PluginError, match=r"`pip install pie-traits-image` brings it"):
        select_named("traits", "input_image", Selection(without=frozenset({"traits.input_image"})))


def test_every_hook_is_specified_and_documented_with_its_entry_point_group():
    from pie_core.hookspecs import Hooks

    specified = {name: getattr(Hooks, name) for name in vars(Hooks) if name.startswith("pie_")}
    assert set(specified) == set(HOOKS.values())
    for kind, hook in HOOKS.items():
        assert f"Group `pie_core.{kind}`" in (specified[hook].__doc__ or "")


def test_a_broken_package_does_not_keep_anything_else_from_loading(install):
    install("acme-broken", {"acme_broke": "1 / 0"}, {"pie_core.traits": {"dance": "acme_broke"}})
    from pie_core.registry import load_registry

    registry = load_registry(Selection())
    assert "forward" in registry.traits and "dance" not in registry.traits
    assert "ZeroDivisionError" in registry.problems["dance"]


def test_importing_the_core_imports_no_model_library_and_no_plugin():
    heavy = ("torch", "transformers", "numpy", "triton", "safetensors", "tokenizers", "pie_traits_text", "starlette")
    code = f"import sys, pie_core, pie_core.controller; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


MODEL = """
    from pathlib import Path

    from pie_core import ModelSpec, hookimpl

    @hookimpl
    def pie_model():
        return ModelSpec({name!r}, Path("/"), default={default})
"""


def install_models(install, **defaults):
    for name, default in defaults.items():
        source = MODEL.format(name=name, default=default)
        install(f"acme-{name}", {f"acme_{name}": source}, {"pie_core.models": {name: f"acme_{name}"}})
    return Selection(without=tuple(f"models.{p.name}" for p in discover("models") if p.name not in defaults))


def test_among_several_models_the_one_that_says_so_is_the_default(install):
    selection = install_models(install, east=False, west=True, north=False)
    assert choose("models", selection) == "west"


@pytest.mark.parametrize("defaults", [{"east": False, "west": False}, {"east": True, "west": True}])
def test_without_one_default_the_error_names_them_all(install, defaults):
    selection = install_models(install, **defaults)
    with pytest.raises(PluginError, match=r"several models are installed \(east, west\); name the model to use"):
        choose("models", selection)


def test_a_broken_model_is_no_default_and_breaks_no_other(install):
    selection = install_models(install, west=True, east=False)
    install("acme-bad", {"acme_bad": "raise ValueError('broken')"}, {"pie_core.models": {"bad": "acme_bad"}})
    assert choose("models", selection) == "west"


@pytest.mark.parametrize(
    ("stated", "loads"), [([], True), (["1"], True), (["1", "2"], True), (["2"], False), (["x"], False)]
)
def test_a_package_is_loaded_only_if_it_was_written_for_this_interface(install, stated, loads):
    points = {"pie_core.traits": {"dance": "acme_api"}, "pie_core.api": dict.fromkeys(stated, "pie_core")}
    install("acme", {"acme_api": trait("dance")}, points)
    plugin = only("traits", "dance")
    assert plugin.api == tuple(stated or ["1"])
    if loads:
        assert load(plugin).name == "dance"
    else:
        with pytest.raises(
            PluginError, match=rf"acme 1\.0 was written for plugin interface {stated[0]}, and .*--without"
        ):
            load(plugin)
