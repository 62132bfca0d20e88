"""Launches inferlets, stops them, and sees to it that nothing is left when one ends, however it ends."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from types import TracebackType
from typing import Any, Self

import structlog

from pie_core.application.accounts import Account, Accounts
from pie_core.application.capabilities import Capabilities, Grant, grant
from pie_core.application.children import Child
from pie_core.application.events import Ended
from pie_core.application.host import Host, ObservedHost
from pie_core.application.inferlet import Inferlet
from pie_core.application.limits import Limits
from pie_core.application.line import Line
from pie_core.application.manifest import parse_flags
from pie_core.application.observer import InferletObserver
from pie_core.application.program import Program
from pie_core.application.quotas import Quotas, holding
from pie_core.application.services import Services
from pie_core.application.sizes import check_sizes
from pie_core.application.tally import Tally
from pie_core.application.tier import Prepared, Tier
from pie_core.application.warming import warm_up
from pie_core.control.exports import ExportLimits
from pie_core.control.space import Space
from pie_core.errors import ArgumentError, PieError, ProgramError, ResourceError, TerminatedError, TraitError, nearest
from pie_core.loaded import LoadedModel

log = structlog.get_logger(__name__)

_RETRY_S = 0.5  # between attempts to cancel a program that swallows them; also what its clean-up may take
_PATIENCE_S = 5.0  # at shutdown, for programs that do not end


class Application:
    """All inferlets of a server. Use as an async context manager; on exit every inferlet is stopped."""

    def __init__(
        self,
        models: Mapping[str, LoadedModel],
        tier: Tier,
        limits: Limits | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(6),
        capabilities: Capabilities | None = None,
        services: Services | None = None,
        sandbox: Callable[[], Tier] | None = None,
        observer: InferletObserver | None = None,
        quotas: Quotas | None = None,
    ) -> None:
        """capabilities: what any program may be granted; None: nothing.

        sandbox: makes the tier of children that must be sandboxed, when the first one is spawned, if `tier` is not one
        that isolates; None: they cannot be started.

        quotas: of the users; None: nobody is bounded.
        """
        self.models = models
        self.limits = limits or Limits()
        self.inferlets: dict[str, Inferlet] = {}
        self._capabilities = capabilities or Capabilities()
        self._services = services or Services()
        self._observer = observer
        self._tier = tier
        self._sandbox = tier if tier.isolates else None
        self._make_sandbox = sandbox
        known = (trait for model in models.values() for trait in model.known_traits)
        self._known_calls = frozenset(call for trait in known for call in trait.signatures)
        self._new_id = new_id
        self._running: dict[str, asyncio.Task[None]] = {}
        self.line = Line(self.limits.max_inferlets, self.limits.line_launches, self.limits.line_bytes)
        self.tally = Tally()
        self.accounts = Accounts(quotas or Quotas(), time.monotonic)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shut_down("the server shuts down")

    @property
    def isolates(self) -> bool:
        """Whether programs run in the sandbox, and may be components."""
        return self._tier.isolates

    @property
    def most_bytes(self) -> int | None:
        """How many one call of a program can carry; None: any number."""
        return self._tier.most_bytes

    async def warm_up(self) -> None:
        """Do now what the first launch would wait for. Raises `PieError`."""
        await self._tier.warm_up()

    async def launch(
        self,
        program: Program,
        arguments: Sequence[str] = (),
        user: str = "local",
        capabilities: Capabilities | None = None,
        blobs: Sequence[bytes] = (),
    ) -> Inferlet:
        """Start a program, or put it in line if too many run. Raises `PieError` if it cannot start; nothing is left
        behind then. `BusyError`: the line is full.

        capabilities: all that this launch allows, of what the server does; None: everything that it does.
        blobs: for its `receive_blob()`, there before it begins.
        """
        granted = grant(self._capabilities, capabilities)
        return await self._start(program, arguments, user, granted, self.limits, blobs=blobs)

    async def launch_child(
        self, program: Program, arguments: Sequence[str], parent: Inferlet, outbox: Child
    ) -> Inferlet:
        """See `Launcher.launch_child`."""
        return await self._start(program, arguments, parent.user, parent.grant, outbox.limits, parent, outbox)

    async def _start(
        self,
        program: Program,
        arguments: Sequence[str],
        user: str,
        most: Grant,
        limits: Limits,
        parent: Inferlet | None = None,
        outbox: Child | None = None,
        blobs: Sequence[bytes] = (),
    ) -> Inferlet:
        account = self.accounts.of(user)
        size = check_sizes(self.limits, program, arguments, blobs)
        self._check_room(account, size, parent)
        tier = self._tier_of(outbox)
        prepared = await tier.prepare(program, self._known_calls)
        self._check_traits(program.name, prepared)
        for model in list(self.models.values()):
            await warm_up(model.realization, _needed_traits(prepared, model), f"program {program.name!r}")
        manifest = prepared.manifest
        if parent is not None:
            parent.check_running()  # it may have ended while its child was made ready
        flags = parse_flags(manifest, list(arguments), program.name) if manifest.flags else {}
        self._check_room(account, size, parent)  # others may have come meanwhile
        inferlet = Inferlet(
            self._new_id(),
            account,
            program,
            list(arguments),
            flags,
            limits,
            most.for_program(manifest),
            time.monotonic(),
            self._open_space,
            parent,
            outbox,
            sandboxed=outbox is not None and outbox.sandboxed,
        )
        for blob in blobs:
            inferlet.deliver(blob)
        self.inferlets[inferlet.id] = inferlet
        account.inferlets += 1
        self.tally.launched += 1
        if self._observer is not None:
            self._observer.arrived(inferlet)
        log.info("inferlet.launched", id=inferlet.id, program=program.name, user=user, tier=tier.name)
        if parent is None:
            self.line.enter(inferlet.id, user, size, lambda: self._run(inferlet, tier))
        else:
            self._run(inferlet, tier)
        return inferlet

    def _check_room(self, account: Account, size: int, parent: Inferlet | None) -> None:
        account.check_launch()
        if parent is None:
            self.line.check_room(account.user, size)
        elif len(self.inferlets) - self.line.running - self.line.waiting >= self.limits.max_children:
            raise ResourceError(f"{self.limits.max_children} child inferlets run already, the most allowed")

    def _run(self, inferlet: Inferlet, tier: Tier) -> None:
        """Give an inferlet its task."""
        task = asyncio.create_task(self._live(inferlet, tier), name=f"inferlet-{inferlet.id}", context=Context())
        self._running[inferlet.id] = task
        task.add_done_callback(lambda _: self._running.pop(inferlet.id, None))  # it may be cancelled before it begins

    def find(self, instance_id: str, user: str | None = None) -> Inferlet:
        """A running inferlet by id; of a user, if one is named. Raises `ArgumentError`."""
        inferlet = self.inferlets.get(instance_id)
        if inferlet is None or (user is not None and inferlet.user != user):
            mine = [i.id for i in self.inferlets.values() if user is None or i.user == user]
            raise ArgumentError(f"no running inferlet has the id {instance_id!r}{nearest(instance_id, mine)}")
        return inferlet

    def stop(self, inferlet: Inferlet, why: str) -> None:
        """End an inferlet from outside, now. What it holds is free when this returns."""
        self._end(inferlet, Ended("stopped", code=TerminatedError.code, error=why))

    def evicted(self, space: Space, why: TerminatedError) -> None:
        """The control layer has ended an inferlet."""
        if space.owner in self.inferlets:
            self._end(self.inferlets[space.owner], Ended("terminated", code=why.code, error=str(why)))

    def list(self, user: str | None = None) -> list[Mapping[str, Any]]:
        """Facts about the running inferlets (of a user), oldest first."""
        now = time.monotonic()
        chosen = [i for i in self.inferlets.values() if user is None or i.user == user]
        return [i.facts(now) | ({"status": "waiting"} if self.line.waits(i.id) else {}) for i in chosen]

    async def drain(self, seconds: float) -> None:
        """Wait until every inferlet has ended by itself, those in line too; at most so long."""
        deadline = time.monotonic() + seconds
        while self._running and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(list(self._running.values()), timeout=left, return_when=asyncio.FIRST_COMPLETED)

    async def shut_down(self, why: str) -> None:
        """Stop all inferlets and wait until their tasks are gone; not for ever for one that refuses to end."""
        for inferlet in reversed(list(self.inferlets.values())):  # who waits in line gets no turn any more
            self.stop(inferlet, why)
        deadline = time.monotonic() + _PATIENCE_S
        while self._running and time.monotonic() < deadline:
            await asyncio.wait(list(self._running.values()), timeout=_PATIENCE_S)
        for instance_id in self._running:
            log.error("inferlet.stuck", id=instance_id, seconds=_PATIENCE_S)
        for tier in {self._tier, self._sandbox or self._tier}:
            tier.close()
        await asyncio.to_thread(self._services.store.close)

    async def _live(self, inferlet: Inferlet, tier: Tier) -> None:
        loop = asyncio.get_running_loop()
        message = f"inferlet {inferlet.id} ran longer than the {inferlet.limits.wall_s:g} s that the limits allow"
        too_long = Ended("terminated", code=ResourceError.code, error=message)
        alarm = loop.call_later(inferlet.limits.wall_s, self._end, inferlet, too_long)
        outcome = Ended("failed", code=ProgramError.code, error="`main` was cancelled, though nobody stopped it")
        try:
            returned = await tier.run(self._host(inferlet))
            if returned is not None:
                inferlet.check_size(returned)
            outcome = Ended("finished", value=inferlet.returned if returned is None else returned)
        except ResourceError as error:  # a program's own, that it did not catch, comes as `ProgramError`
            outcome = Ended("terminated", code=error.code, error=str(error))
        except PieError as error:
            outcome = Ended("failed", code=error.code, error=str(error))
        except asyncio.CancelledError:
            pass  # `_end` has told why already
        except BaseException as error:
            log.exception("inferlet.crashed", id=inferlet.id)
            outcome = Ended("failed", code=PieError.code, error=f"the tier failed: {type(error).__name__}: {error}")
        finally:
            alarm.cancel()
            self._running.pop(inferlet.id, None)
            self._end(inferlet, outcome)

    def _host(self, inferlet: Inferlet) -> Host:
        call_later = asyncio.get_running_loop().call_later
        if self._observer is None:
            return Host(inferlet, self.models, call_later, self._services, self)
        return ObservedHost(inferlet, self.models, call_later, self._services, self, self._observer)

    def _end(self, inferlet: Inferlet, outcome: Ended) -> None:
        """Free everything, note the outcome, stop the task. Only the first call does anything."""
        if self.inferlets.pop(inferlet.id, None) is None:
            return
        inferlet.account.inferlets -= 1
        inferlet.end(outcome)
        self.tally.ended[outcome.status] += 1
        for model, space in inferlet.spaces.items():
            self.models[model].layer.close(space, TerminatedError(outcome.error or f"inferlet {inferlet.id} has ended"))
        self._cancel(inferlet.id)
        self.line.leave(inferlet.id)
        if self._observer is not None:
            self._observer.ended(inferlet)
        log.info("inferlet.ended", id=inferlet.id, status=outcome.status, code=outcome.code)

    def _cancel(self, instance_id: str) -> None:
        """Cancel a task, again and again if the program swallows it; it holds nothing any more."""
        task = self._running.get(instance_id)
        if task is not None:
            task.cancel()
            asyncio.get_running_loop().call_later(_RETRY_S, self._cancel, instance_id)

    def _tier_of(self, child: Child | None) -> Tier:
        if child is None or not child.sandboxed:
            return self._tier
        if self._sandbox is None:
            if self._make_sandbox is None:
                raise ResourceError(
                    "spawn: computing time, memory and tables are limited in the sandbox only, and there is none here"
                )
            self._sandbox = self._make_sandbox()
        return self._sandbox

    def _open_space(self, inferlet: Inferlet, model: str) -> Space:
        limits, of_user = inferlet.limits, inferlet.account.quota
        exports = ExportLimits(limits.exported_names, limits.exported_pages)
        own, all_its = holding(limits.kvpages, limits.embeds), holding(of_user.kvpages, of_user.embeds)
        return self.models[model].layer.open(inferlet.id, inferlet.user, own, exports, all_its)

    def _check_traits(self, name: str, program: Prepared) -> None:
        """Refuse a program that no loaded model can serve, in one message."""
        first: TraitError | None = None
        for model in self.models.values():
            needed = _needed_traits(program, model)
            try:
                model.realization.require(sorted(needed), f"program {name!r}", model.info.name)
                return
            except TraitError as error:
                first = first or error
        if first is not None:
            raise first


def _needed_traits(program: Prepared, model: LoadedModel) -> set[str]:
    """What a program names, imports as a component, or has the calls of in its source."""
    owners = {call: trait.name for trait in model.known_traits for call in trait.signatures}
    called = {owners[call] for call in program.calls if call in owners}
    return {*program.traits, *program.manifest.traits, *called}
