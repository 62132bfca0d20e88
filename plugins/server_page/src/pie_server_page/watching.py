"""Looks at the control layers while a page is open. When nobody asks any more nothing is told, and nothing kept."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from pie_core.control.observer import Observer
from pie_core.control.space import Space
from pie_core.control.submission import Submission
from pie_core.inference.wave import Wave
from pie_core.loaded import LoadedModel
from pie_server_page.branches import Branches
from pie_server_page.spans import Span, Spans

LEASE_S = 15.0
"""Looked at for so long after somebody has asked."""

MOST_TREES = 32
"""Inferlets of a model whose trees are kept; of those that began while somebody looked, the newest."""


class ModelWatch(Observer):
    """Of one model."""

    def __init__(self, spans: Spans) -> None:
        self.spans = spans
        self.trees: OrderedDict[str, Branches] = OrderedDict()  # by inferlet; those asked for last go last

    def opened(self, space: Space) -> None:
        """See `Observer.opened`."""
        self.trees[space.owner] = Branches(space.user, time.monotonic)
        if len(self.trees) > MOST_TREES:
            self.trees.popitem(last=False)

    def enqueued(self, submission: Submission) -> None:
        """See `Observer.enqueued`."""
        tree = self.trees.get(submission.queue.space.owner)
        if tree is not None:
            tree.enqueued(submission)

    def launched(self, wave: Wave[Any]) -> None:
        """See `Observer.launched`."""
        self.spans.launched(wave)

    def completed(self, wave: Wave[Any]) -> None:
        """See `Observer.completed`."""
        self.spans.completed(wave)

    def concluded(self, submission: Submission) -> None:
        """See `Observer.concluded`."""
        self.spans.concluded(submission)


class Watch:
    """Of all models of a server."""

    def __init__(self, lease_s: float = LEASE_S) -> None:
        self._lease_s = lease_s
        self._models: dict[str, ModelWatch] = {}
        self._layers: dict[str, LoadedModel] = {}
        self._until = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._numbers = count(1)

    def keep(self, models: Mapping[str, LoadedModel]) -> None:
        """Look, from now until the lease is over, counted from the last such call."""
        for name, model in models.items():
            if name not in self._models:
                traits = {call: trait.name for trait in model.traits.values() for call in trait.signatures}
                spans = Spans(name, traits, lambda: next(self._numbers), time.monotonic)
                self._models[name], self._layers[name] = ModelWatch(spans), model
            model.layer.observers.add(self._models[name])
        self._until = time.monotonic() + self._lease_s
        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(self._lease_s, self._expire)

    def spans(self, since: int) -> Sequence[Span]:
        """What has ended since the span of a number."""
        found = [span for model in self._models.values() for span in model.spans.since(since)]
        return sorted(found, key=lambda span: span.number)

    def running(self, model: str) -> int:
        """Commands of a model that run in steps."""
        return self._models[model].spans.running

    def tree(self, inferlet: str, sees: str | None) -> tuple[str, Branches] | None:
        """The tree of an inferlet of the user `sees`, or of anybody's (None), and its model, the first it has used."""
        for name, model in self._models.items():
            tree = model.trees.get(inferlet)
            if tree is not None and sees in (None, tree.user):
                model.trees.move_to_end(inferlet)  # the one that is looked at stays
                return name, tree
        return None

    def _expire(self) -> None:
        left = self._until - time.monotonic()
        self._alarm = None
        if left > 0:
            self._alarm = asyncio.get_running_loop().call_later(left, self._expire)
            return
        for name, watch in self._models.items():
            self._layers[name].layer.observers.remove(watch)
            watch.spans.forget()
            watch.trees.clear()
