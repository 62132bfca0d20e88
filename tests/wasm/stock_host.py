"""A small host over wasmtime's own Python package, enough to run a component by itself: no server, no fibers.

Calls are answered by Python functions; tickets are done when something waits for them; sleeps pass in no time, in their
order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wasmtime import Config, Engine, Store, WasiConfig
from wasmtime import component as wc

MEMORY = 64 << 20  # bytes for a program, CPython included
Answers = Mapping[str, Callable[..., Any]]


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message


class StockHost:
    """A compiled component, which can be run any number of times."""

    def __init__(self, path: Path) -> None:
        self.engine = Engine(Config())
        compiled = path.with_suffix(f".{version('wasmtime')}.cwasm")  # takes 10 s
        if not compiled.exists():
            compiled.write_bytes(wc.Component.from_file(self.engine, str(path)).serialize())
        self.component = wc.Component.deserialize_file(self.engine, str(compiled))

    @property
    def imports(self) -> set[str]:
        """The interfaces it imports."""
        return set(self.component.type.imports(self.engine))

    def run(self, files: Sequence[tuple[str, str]] = (), answers: Answers | None = None) -> Run:
        """Run it with a program and its modules; `answers` by function name in kebab-case."""
        made = Run(files, answers or {})
        linker = wc.Linker(self.engine)
        linker.add_wasip2()
        with linker.root() as root:
            for name, item in self.component.type.imports(self.engine).items():
                if name.startswith("pie:"):
                    functions = {n: e.ty for n, e in item.ty.exports(self.engine).items()}
                    with root.add_instance(name) as instance:
                        for function, kind in functions.items():
                            if isinstance(kind, wc.FuncType):
                                instance.add_func(function, made.answer(function))
        store = Store(self.engine)
        store.set_wasi(WasiConfig())
        store.set_limits(memory_size=MEMORY)
        instance = linker.instantiate(store, self.component)
        run = instance.get_func(store, instance.get_export_index(store, "run"))
        made.finish(run(store))
        return made


class Run:
    """What one program did."""

    def __init__(self, files: Sequence[tuple[str, str]], answers: Answers) -> None:
        self.files = files
        self.output: list[str] = []
        self.crossings: list[str] = []
        self.dropped: list[int] = []
        self.returned: str | None = None
        self.error: str | None = None
        self._answers = answers
        self._tickets: dict[int, float] = {}  # when they are done
        self._last = 0
        self._now = 0.0

    def answer(self, name: str) -> Callable[..., Any]:
        """The host function of a name."""

        def call(store: Any, *arguments: Any) -> Any:
            self.crossings.append(name)
            if name in ("wait", "drop", "get"):
                return getattr(self, f"_{name}")(*arguments)
            try:
                value = self._value(name, arguments)
            except Refused as error:
                record = wc.Record()
                record.code, record.message = error.code, error.message
                return wc.Variant("err", record) if name in self._tagged else record
            return wc.Variant("ok", value) if name in self._tagged else value

        return call

    _tagged = frozenset({"get-next-dist-result"})  # where wasmtime's package wants to be told

    def _value(self, name: str, arguments: Sequence[Any]) -> Any:
        if name in self._answers:
            return self._answers[name](*arguments)
        if name == "output":
            return self.output.append(arguments[0])
        if name == "sleep":
            return self.ticket(arguments[0])
        if name == "outcome":
            return None
        raise Refused("unsupported", f"{name} is not answered here")

    def ticket(self, seconds: float = 0.0) -> int:
        """A ticket that is done after so many seconds."""
        self._last += 1
        self._tickets[self._last] = self._now + seconds
        return self._last

    def _wait(self, tickets: Sequence[int]) -> list[int]:
        first = min(self._tickets[ticket] for ticket in tickets)
        self._now = max(self._now, first)
        return [ticket for ticket in tickets if self._tickets[ticket] <= self._now]

    def _drop(self, tickets: Sequence[int]) -> None:
        self.dropped += tickets

    def _get(self) -> list[Any]:
        files = []
        for name, text in self.files:
            file = wc.Record()
            file.name, file.text = name, text
            files.append(file)
        return files

    def finish(self, outcome: Any) -> None:
        """Note what `run` returned."""
        if isinstance(outcome, wc.Record):
            assert outcome.code == "program"
            self.error = outcome.message
        else:
            self.returned = outcome
