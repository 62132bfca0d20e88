"""The hooks a plugin may implement. One entry-point group per kind of thing; one entry point names one thing.

Hooks only register: each returns a frozen record, does no work and imports nothing heavy that its module does not
need anyway. None is called after start-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from pie_core.control.policy import PolicySpec
    from pie_core.inference.backend import BackendSpec, HandlerSpec
    from pie_core.model import ModelSpec
    from pie_core.server.routes import RoutesSpec
    from pie_core.testing.conformance import TraitSuite
    from pie_core.trait import Trait

PROJECT = "pie_core"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Hooks:
    """Implement the one that belongs to your entry point's group, as a plain function in the module it names."""

    @hookspec
    def pie_trait(self) -> Trait:  # type: ignore[empty-body]
        """Group `pie_core.traits`: the declaration of the trait that the entry point is named after."""

    @hookspec
    def pie_backend(self) -> BackendSpec:  # type: ignore[empty-body]
        """Group `pie_core.backends`: the backend that the entry point is named after."""

    @hookspec
    def pie_handlers(self) -> Sequence[HandlerSpec]:  # type: ignore[empty-body]
        """Group `pie_core.handlers`: traits realized on a backend. The entry point is named `<backend>.<what>`.

        `any.<what>`: for every backend that has no handler of its own for the trait.
        """

    @hookspec
    def pie_model(self) -> ModelSpec:  # type: ignore[empty-body]
        """Group `pie_core.models`: the checkpoint that the entry point is named after."""

    @hookspec
    def pie_programs(self) -> Path:  # type: ignore[empty-body]
        """Group `pie_core.inferlets`: a directory of programs that can be run by name."""

    @hookspec
    def pie_interpreters(self) -> Path:  # type: ignore[empty-body]
        """Group `pie_core.interpreters`: a directory that `application/wasm/prebuilt.py` filled for the package."""

    @hookspec
    def pie_dispatch(self) -> PolicySpec:  # type: ignore[empty-body]
        """Group `pie_core.dispatch`: the dispatch policy that the entry point is named after."""

    @hookspec
    def pie_contention(self) -> PolicySpec:  # type: ignore[empty-body]
        """Group `pie_core.contention`: the contention policy that the entry point is named after."""

    @hookspec
    def pie_routes(self) -> RoutesSpec:  # type: ignore[empty-body]
        """Group `pie_core.routes`: HTTP addresses that a server answers beside its own."""

    @hookspec
    def pie_suite(self) -> type[TraitSuite]:  # type: ignore[empty-body]
        """Group `pie_core.suites`: the conformance suite of the trait that the entry point is named after."""
