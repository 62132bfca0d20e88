"""The world's `run`: gets the program, runs its `main`, says how it ended."""

from __future__ import annotations

import asyncio
import linecache
import os
import random
import sys
from collections.abc import Coroutine, Sequence
from contextvars import copy_context
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import inferlet
from inferlet.bindings import Declaration
from inferlet.calls import install
from inferlet.host import current

from inferlet_guest.host import GuestHost, Imports
from inferlet_guest.loop import Loop
from inferlet_guest.modules import BundledModules, File
from inferlet_guest.output import Output, whole_text
from inferlet_guest.program import Contained, print_at_once, program_traceback, wrong_result

_FOREIGN = (
    f"{Path(inferlet.__file__).parent}{os.sep}",
    f"{Path(__file__).parent}{os.sep}",
    "<inferlet.",
)
MODULE = "inferlet_program"


class FailedProgramError(Exception):
    """The program did not end well; the text is for its author."""


class App:
    """One program in one component. Made while the component is built, so that little is left to do when it runs."""

    def __init__(self, imports: Imports, declarations: Sequence[Declaration], files: Sequence[File] | None) -> None:
        """files: the program and its modules, if they are known now."""
        install(declarations)
        self._host = GuestHost(imports, declarations, self._report)
        self._output = Output(imports.function("runtime", "output"), imports.failure)
        self._baked = None if files is None else _bake(files)
        self._imports = imports
        self._program = File("", "")
        self.reserve: list[bytes] = []  # memory to tell of a failure with, when the program has used up all

    def run(self) -> str | None:
        """Run it to its end; what `main` returned. Raises `FailedProgramError`."""
        random.seed()  # the state in the component is that of its build
        sys.stdout = sys.stderr = self._output
        current.set(self._host)
        program, code, modules = self._baked or self._fetch()
        self._program = program
        modules.install()
        linecache.cache[program.name] = (len(program.text), None, program.text.splitlines(True), program.name)
        loop = self._host.loop
        loop.set_task_factory(contained_task)
        try:
            value = loop.run(self._main(program, code))
        except FailedProgramError:
            raise
        except BaseException as error:
            raise _failure(error, program) from error
        return None if value is None else whole_text(value)

    def rehearse(self, program: File, fetched: bool) -> None:
        """Run a program while the component is built, and be as before. `fetched`: `source` gives it."""
        own, self._baked = self._baked, None if fetched else _bake([program])
        output = sys.stdout, sys.stderr
        try:
            copy_context().run(self.run)
        finally:
            self._baked, self._program = own, File("", "")
            self._host.renew()
            sys.stdout, sys.stderr = output
            linecache.cache.pop(program.name, None)
            sys.modules.pop(MODULE, None)

    def _fetch(self) -> tuple[File, CodeType, BundledModules]:
        program, *modules = [File(file.name, file.text) for file in self._imports.function("source", "get")()]
        try:
            return program, _compile(program), BundledModules(modules)
        except Exception as error:
            raise _failure(error, program) from error

    async def _main(self, program: File, code: CodeType) -> str | None:
        module = ModuleType(MODULE)
        module.__file__ = program.name
        module.__dict__["print"] = partial(print_at_once, self._output.write)
        sys.modules[MODULE] = module
        try:
            exec(code, module.__dict__)
            value: Any = await module.main()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # SystemExit, too: a task must not raise it
            self.reserve.clear()
            raise _failure(error, program) from error
        wrong = wrong_result(program.name, value)
        if wrong is not None:
            raise FailedProgramError(wrong)
        text: str | None = value
        return text

    def _report(self, message: str, error: BaseException | None) -> None:
        """Show what nobody is there to catch."""
        self.reserve.clear()
        told = "" if error is None else f"{_told(error, self._program)}\n"
        self._output.write(f"{message}\n{told}")


def _bake(files: Sequence[File]) -> tuple[File, CodeType, BundledModules]:
    program, *others = files
    modules = BundledModules(others)
    modules.compile_all()
    return program, _compile(program), modules


def _compile(program: File) -> CodeType:
    return compile(program.text, program.name, "exec", dont_inherit=True)


def _failure(error: BaseException, program: File) -> FailedProgramError:
    return FailedProgramError(_told(error, program))


def _told(error: BaseException, program: File) -> str:
    return whole_text(program_traceback(error, program.name, program.text, _FOREIGN))


def contained_task(loop: Loop, coroutine: Coroutine[Any, Any, Any], **how: Any) -> Any:
    """A task whose `sys.exit()` does not end the program, as in the trusted tier."""
    return asyncio.Task(Contained(coroutine), loop=loop, **how)
