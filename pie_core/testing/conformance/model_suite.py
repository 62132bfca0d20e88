"""Base of the suites that need a loaded model: what `make` gives, and a fresh control layer around it for each case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pie_core.control.space import Space
from pie_core.errors import ConfigError, PieError
from pie_core.inference.backend import ANY, Backend, HandlerSpec
from pie_core.loaded import LoadedModel
from pie_core.plugins import Selection, select_named
from pie_core.registry import Realization, Registry, load_handlers, load_registry, realize
from pie_core.resource import Embed, KvPage, Resource
from pie_core.testing.conformance.audit import Audit
from pie_core.testing.conformance.books import discrepancies, leaks, snapshot
from pie_core.testing.conformance.suite import Suite, refused
from pie_core.testing.rig import Program, Rig, make_rig

LEAST: Mapping[type[Resource], int] = {KvPage: 64, Embed: 512}  # what the cases need of each pool


@dataclass(frozen=True)
class Subject:
    """A loaded backend, what it realizes, and how to end it."""

    backend: Backend
    realization: Realization
    close: Callable[[], None]


class ModelSuite(Suite):
    """Cases over a loaded model. One is loaded for the class and closed after its last case; every case has pools that
    hold what the cases before it left there, and books that are new.

    backend_name: the name that the backend's handlers are registered under (entry points `NAME.*`).
    """

    backend_name: ClassVar[str] = ""
    _subject: ClassVar[Subject | None] = None
    rig: Rig
    audit: Audit

    def make(self) -> Backend | LoadedModel | Subject:
        """A loaded backend of at least 64 pages and 512 Embeds (`LEAST`), a model with 256 positions; tiny is best.

        It should compute in float32, where results are reproducible. It is closed by the suite.
        """
        raise NotImplementedError(f"{type(self).__name__}.make: return a loaded Backend")

    def handlers(self) -> Sequence[HandlerSpec]:
        """The handlers for a `Backend` that `make` returned: those installed for `backend_name`."""
        plugin = select_named("backends", self.backend_name, Selection())
        return load_handlers(plugin.name, plugin.package, Selection())

    def registry(self) -> Registry:
        """The traits there are: all that are installed."""
        return load_registry(Selection())

    @property
    def subject(self) -> Subject:
        """The model of this class."""
        cls = type(self)
        if cls.__dict__.get("_subject") is None:
            cls._subject = self.open()
        found = cls._subject
        assert found is not None
        return found

    def open(self) -> Subject:
        """Make and realize another one; whoever asks closes it."""
        made = self.make()
        _check_size(made if isinstance(made, Backend) else made.backend)
        if isinstance(made, Backend):
            specs = self.handlers()
            name = next((spec.backend for spec in specs if spec.backend != ANY), self.backend_name)
            return Subject(made, realize(self.registry(), specs, name, made), made.close)
        return Subject(made.backend, made.realization, made.close)

    def setup_method(self) -> None:
        """A control layer with the default policies; every batch that it launches is audited."""
        subject = self.subject
        self.audit = Audit(subject.realization.capacity)
        routes = {kind: self.audit.watch(kind, route) for kind, route in subject.realization.routes.items()}
        realization = replace(subject.realization, routes=routes)
        self.rig = make_rig(backend=subject.backend, realization=realization)

    def open_program(self, name: str = "a", **settings: Any) -> Program:
        """An inferlet that arrives now."""
        return self.rig.open(name, **settings)

    def check_refused(self, kind: type[PieError], call: Callable[..., Any], *arguments: Any) -> PieError:
        """A call that must be refused with an error of this kind, and must leave all books as they were."""
        __tracebackhide__ = True
        before = snapshot(self.rig.layer)
        error = refused(kind, call, *arguments)
        assert snapshot(self.rig.layer) == before, f"refused ({error}), but the books have changed"
        return error

    def settle(self) -> None:
        """Whatever the case did: the books add up, and when every inferlet has ended everything is free again."""
        __tracebackhide__ = True
        self.rig.loop.run()
        assert self.audit.problems == []
        assert discrepancies(self.rig.layer) == []
        for space in list(self.rig.layer.spaces.values()):
            _withdraw_exports(space)
            self.rig.layer.close(space)
        self.rig.loop.run()
        assert leaks(self.rig.layer) == []

    @classmethod
    def teardown_class(cls) -> None:
        """Close the model."""
        subject, cls._subject = cls.__dict__.get("_subject"), None
        if subject is not None:
            subject.close()


def _check_size(backend: Backend) -> None:
    for kind, least in LEAST.items():
        if backend.capacity.get(kind, least) < least:
            raise ConfigError(
                f"the suites need {least} {kind.kind}s, the backend has {backend.capacity[kind]}; load more"
            )


def _withdraw_exports(space: Space) -> None:
    for export, _ in space.exports():
        space.release(export.name)
