"""What `/metrics` shows of the core, read from its books when somebody asks. In base units: seconds, bytes, counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from pie_core.application.application import Application
from pie_core.control.statistics import CallCounters, Histogram
from pie_core.loaded import LoadedModel
from pie_core.server.state import ServerState


class CoreCollector(Collector):
    """Collects nothing while the model loads."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """See `Collector.collect`."""
        if self._state.loaded:
            controller = self._state.controller
            yield from _inferlets(controller.application)
            yield from _pools(controller.models)
            yield from _waves(controller.models)
            yield from _commands(controller.models)


def _inferlets(application: Application) -> Iterable[Metric]:
    waiting = application.line.waiting
    now = GaugeMetricFamily("pie_inferlets", "Inferlets that there are, children included.", labels=["state"])
    now.add_metric(["running"], len(application.inferlets) - waiting)
    now.add_metric(["waiting"], waiting)
    launched = CounterMetricFamily("pie_inferlets_launched", "Inferlets launched, children included.")
    launched.add_metric([], application.tally.launched)
    refused = CounterMetricFamily("pie_launches_refused", "Launches for which there was no room in line.")
    refused.add_metric([], application.line.refused)
    ended = CounterMetricFamily("pie_inferlets_ended", "Inferlets that have ended, by how.", labels=["status"])
    for status, count in application.tally.ended.items():
        ended.add_metric([status], count)
    return now, launched, refused, ended


def _pools(models: Mapping[str, LoadedModel]) -> Iterable[Metric]:
    labels = ["model", "kind"]
    capacity = GaugeMetricFamily("pie_pool_capacity", "Resources of a kind that a model has.", labels=labels)
    used = GaugeMetricFamily("pie_pool_used", "Resources that are held or still in use.", labels=labels)
    for name, model in models.items():
        for kind, pool in model.layer.pools.items():
            capacity.add_metric([name, kind.kind], pool.capacity)
            used.add_metric([name, kind.kind], pool.capacity - pool.free)
    return capacity, used


def _waves(models: Mapping[str, LoadedModel]) -> Iterable[Metric]:
    waves = CounterMetricFamily("pie_waves", "Waves launched.", labels=["model"])
    busy = CounterMetricFamily("pie_wave_seconds", "Time from launch to completion, of all waves.", labels=["model"])
    for name, model in models.items():
        waves.add_metric([name], model.layer.statistics.waves)
        busy.add_metric([name], model.layer.statistics.busy_s)
    return waves, busy


def _commands(models: Mapping[str, LoadedModel]) -> Iterable[Metric]:
    labels = ["model", "trait", "command"]
    sizes = HistogramMetricFamily("pie_batch_size", "Commands that ran together as one batch.", labels=labels)
    waits = HistogramMetricFamily(
        "pie_command_wait_seconds", "Time from when a command was enqueued until it was launched.", labels=labels
    )
    weight = CounterMetricFamily(
        "pie_command_weight", "Work of the commands launched, in their own unit (tokens of a pass).", labels=labels
    )
    for name, model in models.items():
        for trait, command, counters in _counted(model):
            values = [name, trait, command]
            sizes.add_metric(values, _buckets(counters.sizes), counters.sizes.total)
            waits.add_metric(values, _buckets(counters.waits_s), counters.waits_s.total)
            weight.add_metric(values, counters.weight)
    return sizes, waits, weight


def _counted(model: LoadedModel) -> Iterator[tuple[str, str, CallCounters]]:
    """Trait, name and counters of each kind of command; what the control layer itself launches has no trait."""
    owners = {call: trait.name for trait in model.traits.values() for call in trait.signatures}
    for name, counters in model.layer.statistics.calls.items():
        yield owners.get(name, ""), name, counters


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))
