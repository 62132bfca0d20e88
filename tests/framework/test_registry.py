"""Traits by name and version, and the truth about what a backend offers."""

import asyncio

import pytest
from structlog.testing import capture_logs

from pie_core import (
    ANY,
    U32,
    Backend,
    BackendSpec,
    Command,
    ControlCall,
    DeclarationError,
    HandlerSpec,
    PieError,
    PluginError,
    Query,
    Resource,
    Trait,
    TraitError,
    UnsupportedError,
)
from pie_core.command import Call
from pie_core.controller import Settings, load_model
from pie_core.plugins import Selection
from pie_core.registry import Registry, load_handlers, load_registry, realize
from pie_core.testing import FakeBackend, fake_handlers, fake_model, run_inferlet


class Twirl(Command):
    """Turn around."""


class Bow(Command):
    """Thank the audience."""


class CountTurns(Query):
    """How often."""

    returns = U32


class Stand(ControlCall):
    """Do nothing."""

    def apply(self, space):
        return None


class Shoe(Resource):
    kind = "shoe"


class Dancer:
    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def twirl(self, batch):
        return None

    def count_turns(self, query):
        return 7


def dance(version="1.0.0", requires=(), calls=(Twirl, CountTurns, Stand), **more):
    return Trait(name="dance", version=version, doc="d", calls=calls, requires=requires, **more)


def handler(trait="dance", build=Dancer, **more):
    return HandlerSpec(trait, "fake", build, **more)


def offer(*traits, handlers=(), problems=None):
    """What a fake backend realizes of the text traits and `traits`."""
    known = [*load_registry(Selection()).traits.values(), *traits]
    return realize(Registry(known, problems), [*fake_handlers(), *handlers], "fake", FakeBackend())


# handlers for any backend


def anyone(build=Dancer, package="pie-dance"):
    return HandlerSpec("dance", ANY, build, package=package)


def test_a_handler_for_any_backend_serves_one_that_has_none_and_is_built_on_its_supertraits():
    grounds = []

    def build(ground):
        grounds.append(ground)
        return Dancer(ground)

    found = offer(dance(requires=("output_text>=1",)), handlers=[anyone(build)])
    assert "dance" in found.traits
    (ground,) = grounds
    assert isinstance(ground.backend, FakeBackend)
    assert {"output_text", "allocate"} <= set(ground.handlers)
    assert callable(ground.handlers["output_text"].get_next_dist)


def test_a_backends_own_handler_goes_before_one_for_any_backend():
    def build(ground):
        raise AssertionError("not wanted")

    for handlers in ([anyone(build), handler()], [handler(), anyone(build)]):
        assert "dance" in offer(dance(), handlers=handlers).traits


def test_a_handler_for_any_backend_is_not_built_without_a_handler_of_each_supertrait():
    def build(ground):
        raise AssertionError("not wanted")

    ballet = Trait(name="ballet", version="1", doc="d", calls=(Bow,))
    found = offer(ballet, dance(requires=("ballet",)), handlers=[anyone(build)])
    assert "dance" not in found.traits
    assert found.reasons["dance"] == "its supertrait 'ballet' is not available"


def test_two_packages_with_a_handler_for_any_backend_are_an_error_that_names_both():
    with pytest.raises(PluginError, match=r"acme-dance and pie-dance both bring handlers .* for backend 'any'"):
        offer(dance(), handlers=[anyone(), anyone(package="acme-dance")])


def test_handlers_for_any_backend_are_found_by_their_name(install):
    source = """
        from pie_core import ANY, HandlerSpec, hookimpl

        @hookimpl
        def pie_handlers():
            return [HandlerSpec("dance", ANY, object)]
    """
    install("acme-dance", {"acme_any": source}, {"pie_core.handlers": {"any.dance": "acme_any"}})
    [spec] = [spec for spec in load_handlers("cardboard", "zeta", Selection()) if spec.package == "acme-dance"]
    assert (spec.trait, spec.backend, spec.optional) == ("dance", ANY, True)


def test_no_backend_can_be_named_like_all_of_them():
    with pytest.raises(DeclarationError, match="cannot be named 'any'"):
        BackendSpec(ANY, "d", object, lambda spec, options, progress: None)


# the registry


def test_a_trait_without_its_supertrait_is_set_aside_with_the_reason():
    registry = Registry([dance(requires=("music>=1",))])
    assert registry.traits == {} and "supertrait 'music' is not installed" in registry.problems["dance"]


def test_a_supertrait_of_the_wrong_version_does_not_count():
    music = Trait(name="music", version="2.0.0", doc="d", calls=())
    registry = Registry([dance(requires=("music>=1,<2",)), music])
    assert set(registry.traits) == {"music"}
    assert "music<2,>=1 is wanted, 2.0.0 is installed" in registry.problems["dance"]


def test_what_stands_on_a_trait_that_was_set_aside_falls_with_it():
    ballet = Trait(name="ballet", version="1", doc="d", calls=(), requires=("dance",))
    registry = Registry([ballet, dance(requires=("music",))])
    assert registry.traits == {} and "'dance' is unusable" in registry.problems["ballet"]


def test_two_traits_that_declare_one_call_are_an_error_that_names_both():
    ballet = Trait(name="ballet", version="1", doc="d", calls=(Twirl,))
    with pytest.raises(PluginError, match=r"'dance' and 'ballet' both declare the call 'twirl'"):
        Registry([dance(), ballet])


def test_a_trait_cannot_take_the_name_of_a_runtime_call():
    with pytest.raises(PluginError, match=r"'runtime' and 'dance' both declare the call 'twirl'"):
        Registry([dance()], reserved={"twirl": "runtime"})


def test_the_controller_reserves_the_runtime_calls(install):
    source = """
        from pie_core import ControlCall, Trait, hookimpl

        class Send(ControlCall):
            '''Mail it.'''

        @hookimpl
        def pie_trait():
            return Trait(name="mail", version="1", doc="d", calls=(Send,))
    """
    install("acme-mail", {"acme_mail": source}, {"pie_core.traits": {"mail": "acme_mail"}})
    install_backend(install)
    with pytest.raises(PluginError, match=r"'runtime' and 'mail' both declare the call 'send'"):
        asyncio.run(load_model(Settings(model=".", backend="cardboard"), None, lambda stage, share: None))


def test_a_call_of_no_known_kind_is_an_error():
    class Wander(Call):
        """Neither here nor there."""

    with pytest.raises(PluginError, match=r"'wander' is neither a Command, a Query nor a ControlCall"):
        Registry([dance(calls=(Wander,))])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 'dance'", "registers a str, not a Trait"),
        ("return Trait(name='fence', version='1', doc='', calls=())", "a trait named 'fence'; entry point and trait"),
    ],
)
def test_a_plugin_that_registers_the_wrong_record_is_a_warning_and_a_reason(install, body, message):
    source = f"from pie_core import Trait, hookimpl\n@hookimpl\ndef pie_trait():\n    {body}\n"
    install("acme", {"acme_wrong": source}, {"pie_core.traits": {"dance": "acme_wrong"}})
    with capture_logs() as logs:
        registry = load_registry(Selection())
    assert message in registry.problems["dance"]
    assert [(log["event"], log["package"]) for log in logs] == [("plugin.failed", "acme")]


def test_a_trait_that_was_left_out_takes_along_what_stands_on_it_and_says_so():
    registry = load_registry(Selection(without=frozenset({"traits.forward"})))
    assert set(registry.traits) == {"allocate", "output_text"}
    assert "--without traits.forward" in registry.problems["forward"]
    assert "'forward' is unusable: it was left out" in registry.problems["input_text"]


# what a backend realizes


def test_a_trait_with_a_handler_is_available_and_its_calls_are_routed():
    real = offer(dance(), handlers=[handler()])
    assert "dance" in real.traits and real.calls["twirl"] is Twirl
    assert real.answers[CountTurns](CountTurns()) == 7 and Twirl in real.routes and Stand not in real.routes


def test_a_trait_that_needs_no_backend_is_available_on_any():
    assert "dance" in offer(dance(calls=(Stand,))).traits


def test_a_backend_without_a_handler_does_not_have_the_trait():
    real = offer(dance())
    assert "dance" not in real.traits and "backend 'fake' has no handler" in real.reasons["dance"]


def test_a_handler_for_other_versions_does_not_count():
    real = offer(dance("3.0.0"), handlers=[handler("dance>=1,<2")])
    assert "dance" not in real.traits and "handles versions >=1,<2, not 3.0.0" in real.reasons["dance"]


def test_a_trait_that_this_model_cannot_have_keeps_the_backends_reason():
    def refuse(backend):
        raise UnsupportedError("this model has no legs")

    real = offer(dance(), handlers=[handler(build=refuse)])
    assert "dance" not in real.traits and real.reasons["dance"] == "this model has no legs"


def test_a_trait_falls_with_the_supertrait_that_the_backend_lacks():
    ballet = Trait(name="ballet", version="1", doc="d", calls=(), requires=("dance",))
    real = offer(dance(), ballet)
    assert "ballet" not in real.traits and "supertrait 'dance' is not available" in real.reasons["ballet"]


def test_a_trait_with_a_resource_of_which_the_backend_has_no_pool_is_not_available():
    real = offer(dance(resources=(Shoe,)), handlers=[handler()])
    assert "backend 'fake' has no pool of shoes" in real.reasons["dance"]


class Lame:
    def __init__(self, backend):
        pass

    def twirl(self, batch):
        return None


def stumble(backend):
    raise RuntimeError("tripped")


@pytest.mark.parametrize(
    ("build", "message"), [(Lame, "Lame has no method 'count_turns'"), (stumble, "RuntimeError: tripped")]
)
def test_a_backends_own_broken_handler_is_fatal_and_a_strangers_costs_only_its_trait(build, message):
    with pytest.raises(PluginError, match=message):
        offer(dance(), handlers=[handler(build=build)])
    with capture_logs() as logs:
        real = offer(dance(), handlers=[handler(build=build, package="acme", optional=True)])
    assert "dance" not in real.traits and message in real.reasons["dance"] and "acme" in real.reasons["dance"]
    assert [log["event"] for log in logs] == ["handler.failed"]
    assert "forward" in real.traits


def test_two_packages_with_handlers_for_one_trait_are_an_error_that_names_both():
    both = [handler(package="acme"), handler(package="zeta")]
    with pytest.raises(PluginError, match=r"acme and zeta both bring handlers of trait 'dance'.*--prefer acme"):
        offer(dance(), handlers=both)


HANDLERS = """
    from pie_core import HandlerSpec, hookimpl

    @hookimpl
    def pie_handlers():
        return [HandlerSpec("dance", {backend!r}, lambda backend: {package!r})]
"""


def of_cardboard(package, **selection):
    """Its own handlers; those for any backend are there or not, as is installed."""
    found = load_handlers("cardboard", package, Selection(**selection))
    return [spec for spec in found if spec.backend != ANY]


def test_handlers_are_found_by_backend_and_a_preferred_package_wins(install):
    for package in ("acme", "zeta"):
        source = HANDLERS.format(backend="cardboard", package=package)
        points = {
            "pie_core.handlers": {f"cardboard.{package}": f"{package}_handlers", "other.x": f"{package}_handlers"}
        }
        install(package, {f"{package}_handlers": source}, points)
    found = of_cardboard("zeta")
    assert [(spec.package, spec.optional) for spec in found] == [("acme", True), ("zeta", False)]
    [chosen] = of_cardboard("zeta", prefer=("zeta",))
    assert chosen.package == "zeta"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (HANDLERS.format(backend="else", package=""), "handlers for backend 'else', not 'cardboard'"),
        ("from pie_core import hookimpl\n@hookimpl\ndef pie_handlers(): return [1]", "not a list of HandlerSpecs"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_broken_handlers_are_fatal_for_the_backends_own_package_and_a_warning_otherwise(install, source, message):
    install("acme", {"acme_h": source}, {"pie_core.handlers": {"cardboard.acme": "acme_h"}})
    with pytest.raises(PluginError, match=message):
        load_handlers("cardboard", "acme", Selection())
    with capture_logs() as logs:
        assert of_cardboard("pie-cardboard") == []
    assert [log["package"] for log in logs] == ["acme"]


# selecting backend and model


def install_backend(install, load="lambda model, options, progress: FakeBackend()", registers=None):
    source = f"""
        import msgspec
        from pie_core import BackendSpec, HandlerSpec, hookimpl
        from pie_core.testing.fake import FakeBackend, FakeHandler, fake_handlers

        class Options(msgspec.Struct):
            pages: int = 4
            device: str = "auto"

        @hookimpl
        def pie_backend():
            return {registers or f'BackendSpec("cardboard", "paper", Options, {load})'}

        @hookimpl
        def pie_handlers():
            return [HandlerSpec(spec.trait, "cardboard", FakeHandler) for spec in fake_handlers()]
    """
    install(
        "pie-cardboard",
        {"cardboard": source},
        {"pie_core.backends": {"cardboard": "cardboard"}, "pie_core.handlers": {"cardboard.text": "cardboard"}},
    )


def serve(settings):
    async def main():
        model = await load_model(settings, None, lambda stage, share: None)
        try:
            return await run_inferlet(
                "from inferlet import get_auto_model\nasync def main(): return ' '.join(get_auto_model().traits)",
                models={model.info.name: model},
            )
        finally:
            model.close()

    return asyncio.run(main())


def test_a_strangers_backend_serves_the_text_traits(install, tmp_path):
    install_backend(install)
    outcome = serve(Settings(model=str(tmp_path), backend="cardboard", options={"pages": "9"}))
    assert set(outcome.ended.value.split()) >= {"allocate", "forward", "input_text", "output_text", "tokenize"}


def test_a_trait_that_was_left_out_is_not_among_the_available_ones(install, tmp_path):
    install_backend(install)
    left_out = Selection(without=frozenset({"traits.tokenize"}))
    outcome = serve(Settings(model=str(tmp_path), backend="cardboard", selection=left_out))
    assert outcome.ended.value == "allocate forward input_text output_text"  # nor those that stand on it


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"page": "1"}, "no option 'page'; did you mean 'pages'"),
        ({"pages": "many"}, "cardboard.*option pages=many: expected `int`"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(install, tmp_path, options, message):
    install_backend(install)
    with pytest.raises(PieError, match=message):
        serve(Settings(model=str(tmp_path), backend="cardboard", options=options))


def test_a_selected_backend_that_fails_to_import_is_fatal(install, tmp_path):
    install("pie-cardboard", {"cardboard": "import nothing_like_it"}, {"pie_core.backends": {"cardboard": "cardboard"}})
    with pytest.raises(
        PluginError, match=r"backends plugin 'cardboard' of package pie-cardboard 1.0 cannot be imported"
    ):
        serve(Settings(model=str(tmp_path), backend="cardboard"))


def test_a_selected_model_that_fails_to_import_is_fatal(install):
    install_backend(install)
    install("pie-doll", {"doll": "1 / 0"}, {"pie_core.models": {"doll": "doll"}})
    with pytest.raises(PluginError, match=r"models plugin 'doll' of package pie-doll"):
        serve(Settings(model="doll", backend="cardboard"))


def test_a_backend_that_registers_something_else_is_fatal(install, tmp_path):
    install_backend(install, registers="42")
    with pytest.raises(PluginError, match=r"registers a int, not a BackendSpec"):
        serve(Settings(model=str(tmp_path), backend="cardboard"))


def test_a_backend_whose_handlers_clash_is_closed_again(install, tmp_path):
    install_backend(install, load="lambda model, options, progress: KEPT.append(FakeBackend()) or KEPT[0]")
    import cardboard

    cardboard.KEPT = []
    source = HANDLERS.format(backend="cardboard", package="x").replace("dance", "forward")
    install("acme", {"acme_k": source}, {"pie_core.handlers": {"cardboard.acme": "acme_k"}})
    with pytest.raises(PluginError, match=r"acme and pie-cardboard both bring handlers of trait 'forward'"):
        serve(Settings(model=str(tmp_path), backend="cardboard"))
    assert cardboard.KEPT[0].closed


# the refusal at launch


PROGRAM = """
# /// inferlet
# traits = [{traits}]
# ///
async def main():
    pass
"""


def launch(source, registry=None, handlers=None):
    async def main():
        model = fake_model(registry=registry, handlers=handlers)
        try:
            return await run_inferlet(source, models={"fake": model})
        finally:
            model.close()

    return asyncio.run(main())


def test_a_program_that_needs_more_is_refused_with_what_it_needs_what_there_is_and_what_would_help():
    installed = load_registry(Selection()).traits
    registry = Registry([trait for name, trait in installed.items() if name != "input_image"])
    with pytest.raises(TraitError) as caught:
        launch(PROGRAM.format(traits='"input_image", "forward", "telepathy"'), registry)
    message = str(caught.value)
    assert "program 'test' needs input_image, telepathy, which model 'fake' does not have" in message
    assert "it has: allocate, forward, input_text, output_text, tokenize" in message
    assert "`pip install pie-traits-image` brings it" in message
    assert "telepathy is not installed" in message and "pie-trait-telepathy" in message


def test_a_near_miss_of_a_trait_name_is_pointed_out():
    with pytest.raises(TraitError, match=r"did you mean 'tokenize'"):
        launch(PROGRAM.format(traits='"tokenise"'))


def test_a_program_that_only_imports_a_call_of_a_missing_trait_is_refused_too():
    registry = Registry([*load_registry(Selection()).traits.values(), dance()])
    for source in (
        "from inferlet import twirl\nasync def main(): pass",
        "import inferlet\nasync def main(): inferlet.twirl()",
        "import inferlet as pie\nasync def main(): pie.twirl()",
        "from inferlet import *\nasync def main(): twirl()",
    ):
        with pytest.raises(TraitError, match=r"needs dance.*backend 'fake' has no handler for it"):
            launch(source, registry)


def test_a_launch_refused_for_a_trait_that_was_left_out_says_so():
    registry = load_registry(Selection(without=frozenset({"traits.tokenize"})))
    with pytest.raises(TraitError, match=r"tokenize: it was left out \(--without traits.tokenize\)"):
        launch(PROGRAM.format(traits='"tokenize"'), registry)
