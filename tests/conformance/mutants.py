"""Backends, handlers and books that are wrong in one way each; the suites must find every one of them."""

import random
from array import array

import msgspec

from pie_core.control.contention import FcfsKill
from pie_core.control.dispatch import Adaptive
from pie_core.control.pool import Pool
from pie_core.control.space import Space
from pie_core.inference.backend import HandlerSpec
from pie_core.resource import KvPage
from pie_core.testing.fake import FakeBackend, FakeHandler


class IgnoresMask(FakeHandler):
    def forward(self, batch):
        super().forward([msgspec.structs.replace(command, mask=None) for command in batch])


class ShowsHidden(FakeHandler):
    def forward(self, batch):
        shown = [tuple((1 << page.size) - 1 & page.used for page in command.ikv) for command in batch]
        super().forward([msgspec.structs.replace(c, live=live) for c, live in zip(batch, shown, strict=True)])


class StoresPositionOffByOne(FakeHandler):
    def _forward(self, command):
        slots, embeds = super()._forward(command)
        return {at: (position + 1, entry) for at, (position, entry) in slots.items()}, embeds


class IgnoresPositions(FakeHandler):
    def forward(self, batch):
        super().forward([msgspec.structs.replace(c, positions=(0,) * len(c.positions)) for c in batch])


class SwapsResultsOfABatch(FakeHandler):
    def get_next_dist(self, batch):
        return super().get_next_dist(batch)[::-1]


class SwapsOutputsOfABatch(FakeHandler):
    def forward(self, batch):
        outputs = [command.oemb for command in batch]
        if len({len(output) for output in outputs}) == 1:
            outputs = outputs[::-1]
        super().forward([msgspec.structs.replace(c, oemb=out) for c, out in zip(batch, outputs, strict=True)])


class DependsOnTheBatch(FakeHandler):
    def forward(self, batch):
        extra = len(batch) > 4
        super().forward([msgspec.structs.replace(c, live=(0,) * len(c.live)) if extra else c for c in batch])


class CannotRunAgain(FakeHandler):
    def forward(self, batch):
        for command in batch:
            super().forward([command])


class ForgetsOnePageOfTheContext(FakeHandler):
    def forward(self, batch):
        super().forward([msgspec.structs.replace(c, live=(*c.live[:2], *(0 for _ in c.live[2:]))) for c in batch])


class CopiesFromTheStart(FakeHandler):
    def copy_kvpage(self, batch):
        super().copy_kvpage([msgspec.structs.replace(command, src_start=0) for command in batch])


class WritesThePageBeside(FakeHandler):
    def _forward(self, command):
        slots, embeds = super()._forward(command)
        return slots | {((page + 1) % 64, slot): entry for (page, slot), entry in slots.items()}, embeds


class WritesAllHiddenStates(FakeHandler):
    def _forward(self, command):
        slots, embeds = super()._forward(command)
        return slots, embeds | {embed.index: b"" for embed in command.iemb if embed.index not in embeds}


class ShiftsTokens(FakeHandler):
    def embed_txt(self, batch):
        super().embed_txt([msgspec.structs.replace(c, tok=c.tok[1:] + c.tok[:1]) for c in batch])


class DoesNotNormalize(FakeHandler):
    def _dist(self, command):
        dist = super()._dist(command)
        return msgspec.structs.replace(dist, probs=array("f", [prob / 2 for prob in dist.probs]))


class SortsUpward(FakeHandler):
    def _dist(self, command):
        dist = super()._dist(command)
        return msgspec.structs.replace(dist, ids=dist.ids[::-1], probs=dist.probs[::-1])


class ListsOneTokenFewer(FakeHandler):
    def _dist(self, command):
        dist = super()._dist(command)
        return msgspec.structs.replace(dist, ids=dist.ids[1:], probs=dist.probs[1:], rest=dist.rest + dist.probs[0])


class BreaksPartialCharacters(FakeHandler):
    def detokenize(self, query):
        return bytes(token for token in query.ids if token < 256).decode("utf-8", "surrogateescape")


class AsIf:
    """A command with another adapter than its own."""

    def __init__(self, command, adapter):
        self._command = command
        self.adapter = adapter

    def __getattr__(self, name):
        return getattr(self._command, name)


class IgnoresAdapters(FakeHandler):
    def _forward(self, command):
        return super()._forward(AsIf(command, None))


class OneAdapterForAll(FakeHandler):
    def forward(self, batch):
        super().forward([AsIf(command, batch[0].adapter) for command in batch])

    forward_with_adapter = forward


class TouchesTheBooks(FakeHandler):
    def forward(self, batch):
        super().forward(batch)
        for command in batch:
            for page in command.okv:
                page.hidden = 0


class CountsTheVocabularyWrong(FakeHandler):
    def get_vocabs(self, query):
        return super().get_vocabs(query)[:-1]


class ChangingCapacity(FakeBackend):
    @property
    def capacity(self):
        self._capacity[KvPage] += 1
        return dict(self._capacity)


class NoLimit(FakeBackend):
    def batch_limit(self, command):
        return 0


class NeverLaunches(Adaptive):
    def due(self, backlog, *, idle, quiet, now):
        return False


class WaitsForThree(Adaptive):
    def due(self, backlog, *, idle, quiet, now):
        return idle and sum(backlog.size(kind) for kind in backlog.kinds()) >= 3


class LaunchesByChance(Adaptive):
    def due(self, backlog, *, idle, quiet, now):
        return idle and quiet and (random.random() < 0.5 or now + 0.001)


class TakesFromTheBacklog(Adaptive):
    def due(self, backlog, *, idle, quiet, now):
        backlog.take(backlog.kinds()[0], 1)
        return idle and quiet


class WaitsForQuiet(Adaptive):
    """Never launches while commands keep coming, not even when it was told that it is quiet enough."""

    def __init__(self):
        self.last = -1

    def due(self, backlog, *, idle, quiet, now):
        size = sum(backlog.size(kind) for kind in backlog.kinds())
        self.last, still = size, size == self.last
        return idle and quiet and still


class NobodyGivesWay(FcfsKill):
    cycle_s = 1e9

    def victim(self, kind, requester, holders):
        return None


class EndsByChance(FcfsKill):
    def victim(self, kind, requester, holders):
        return random.choice(holders)


class FreesByItself(FcfsKill):
    def victim(self, kind, requester, holders):
        handles = list(holders[0].tables[kind])
        holders[0].free(kind, handles[:1])
        return holders[-1]


def shared_pages_are_written(monkeypatch):
    monkeypatch.setattr(Space, "refuse_shared", lambda self, resource, where: None)


def the_ended_go_on(monkeypatch):
    monkeypatch.setattr(Space, "check_alive", lambda self: None)


def any_queue_will_do(monkeypatch):
    monkeypatch.setattr(Space, "queue", lambda self, handle, where: next(iter(self.queues.values())))


def half_is_freed(monkeypatch):
    free = Space.free

    def one_by_one(self, kind, handles):
        for handle in handles:
            free(self, kind, [handle])

    monkeypatch.setattr(Space, "free", one_by_one)


def foreign_handles_are_known(monkeypatch):
    resolve = Space.resolve

    def anyones(self, kind, handles, where):
        everything = {}
        for space in self._layer.spaces.values():
            everything |= space.tables[kind]
        known = all(isinstance(handle, int) and handle in everything for handle in handles)
        return tuple(everything[handle] for handle in handles) if known else resolve(self, kind, handles, where)

    monkeypatch.setattr(Space, "resolve", anyones)


def freed_twice(monkeypatch):
    give = Pool.give

    def twice(self, record):
        index = record.index
        give(self, record)
        self._free.append(index)

    monkeypatch.setattr(Pool, "give", twice)


def leaked(monkeypatch):
    monkeypatch.setattr(Pool, "give", lambda self, record: None)


def handlers(kind):
    """Handlers of one kind for every trait that a fake backend has."""
    traits = ("allocate", "forward", "input_text", "tokenize", "output_text")
    return [HandlerSpec(f"{trait}>=1,<2", "fake", kind) for trait in traits]
