"""`pie-core plugins --check NAME`: the quick half of the conformance suites that concern a plugin."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import click

from pie_core.cli.plugins import problem_of
from pie_core.control.policy import PolicySpec
from pie_core.controller import Settings, choose, load_model
from pie_core.errors import PluginError
from pie_core.inference.backend import ANY
from pie_core.loaded import LoadedModel
from pie_core.plugins import Kind, Plugin, discover, load, select
from pie_core.testing.conformance import (
    BackendSuite,
    ContentionSuite,
    DispatchSuite,
    ModelSuite,
    Result,
    Suite,
    TraitSuite,
    run_suite,
)
from pie_core.testing.conformance.model_suite import Subject
from pie_core.trait import Trait

TESTED: frozenset[Kind] = frozenset({"traits", "suites", "backends", "handlers", "models"})

POLICIES: dict[Kind, type[Suite]] = {"dispatch": DispatchSuite, "contention": ContentionSuite}
IDLE_S = 1.0  # longer than any policy should leave the device idle


def check(plugins: Sequence[Plugin], settings: Settings) -> bool:
    """Load these plugins, which share a name, run what concerns them, print it. Whether all is well.

    A backend and a model are checked with all traits that they realize, a trait or its suite with that one, handlers
    with those that they are for. `settings` say what else is needed.
    """
    problems = [problem for plugin in plugins if (problem := problem_of(plugin))]
    for problem in problems:
        click.secho(problem, err=True, fg="red")
    if problems:
        return False
    kinds, name = {plugin.kind: plugin for plugin in plugins}, plugins[0].name
    if "dispatch" in kinds or "contention" in kinds:
        return all(_run(_policy_suite(plugin)) for plugin in plugins if plugin.kind in POLICIES)
    if not kinds.keys() & TESTED:
        click.echo(f"{name}: loads; there is no conformance suite for its kind")
        return True
    backend = name.partition(".")[0]
    if kinds.keys() & {"backends", "handlers"} and backend != ANY:
        settings = replace(settings, backend=backend)
    if "models" in kinds:
        settings = replace(settings, model=name)
    only = None if kinds.keys() & {"backends", "models"} else _concerned(kinds, name)
    model = asyncio.run(load_model(settings, evicted=lambda space, why: None, progress=lambda stage, share: None))
    try:
        click.echo(f"model {model.info.name!r} on {model.backend.device}")
        outcomes = [_run(suite) for suite in _suites(model, settings, only)]  # all of them, also after a failure
        return all(outcomes)
    finally:
        model.close()


def _concerned(kinds: Mapping[Kind, Plugin], name: str) -> list[str]:
    """The traits that a trait, its suite or handlers are about."""
    if "handlers" in kinds:
        return [spec.trait_name for spec in load(kinds["handlers"])]
    return [name]


def _suites(model: LoadedModel, settings: Settings, only: Sequence[str] | None) -> Iterator[type[ModelSuite]]:
    """The suites, made to run on this model."""
    if only is None:
        yield _on(BackendSuite, model, settings)
        traits = list(model.traits.values())
    else:
        model.realization.require(only, "the check", model.info.name)
        traits = [model.traits[name] for name in only]
    published = {plugin.name: plugin for plugin in select(discover("suites"), settings.selection)}
    for trait in traits:
        yield _on(_suite_of(trait, published.get(trait.name)), model, settings)


def _suite_of(trait: Trait, published: Plugin | None) -> type[ModelSuite]:
    """The suite that a package publishes, or only the cases that follow from the declaration."""
    if published is None:
        return type(f"{trait.name} (derived)", (TraitSuite,), {"trait": trait})
    suite = load(published)
    if not (isinstance(suite, type) and issubclass(suite, TraitSuite) and suite.trait.name == trait.name):
        raise PluginError(f"{published} registers {suite!r:.80}, not a TraitSuite of trait {trait.name!r}")
    return suite


def _policy_suite(plugin: Plugin) -> type[Suite]:
    """The suite of its kind, on the policy with its default options."""
    spec: PolicySpec = load(plugin)
    suite = POLICIES[plugin.kind]
    return type(suite.__name__, (suite,), {"make": lambda self: spec.make(spec.options()), "idle_s": IDLE_S})


def _on(suite: type[ModelSuite], model: LoadedModel, settings: Settings) -> type[ModelSuite]:
    subject = Subject(model.backend, model.realization, close=lambda: None)  # the next suite needs it, too
    backend_name = settings.backend or choose("backends", settings.selection)
    return type(suite.__name__, (suite,), {"make": lambda self: subject, "backend_name": backend_name})


def _run(suite: type[Suite]) -> bool:
    results = list(run_suite(suite, only_quick=True))
    bad = [result for result in results if result.status == "failed"]
    for result in bad:
        click.secho(f"{result.suite}.{result.case}: {_reason(result)}", err=True, fg="red")
    click.echo(f"{suite.__name__}: {len(results) - len(bad)} of {len(results)} cases pass")
    return not bad


def _reason(result: Result) -> str:
    """One line: the error and, of an assertion, where it stands."""
    error = result.error
    assert error is not None
    said = str(error).strip().partition("\n")[0]
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {said or place.line} ({place.filename}:{place.lineno})"
