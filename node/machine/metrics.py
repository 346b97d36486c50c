"""A node's figures for Prometheus, read when they are asked for from what its parts know already.

`README.md` beside this file lists them. Counters begin at 0 with each start of the process, as Prometheus expects.
"""

import shutil
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.responses import Response

from merit.clock import Clock
from node.machine.home import NodeHome
from node.machine.watch import EdgeWatch

if TYPE_CHECKING:
    from chain.application import Application
    from chain.engines.cometbft.engine import CometEngine

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


class NodeFigures(Collector):
    """Gives the figures of one node; belongs to the ledger's thread."""

    def __init__(
        self, home: NodeHome, application: "Application", engine: "CometEngine", watch: EdgeWatch | None, clock: Clock
    ) -> None:
        """Read from these; `watch` is None for a node without an edge server."""
        self._home, self._application, self._engine = home, application, engine
        self._watch, self._clock = watch, clock

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: whatever is collected is new."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read everything now."""
        yield from self._chain()
        yield from self._pool()
        yield from self._calls()
        if self._watch is not None:
            yield from _edge(self._watch)

    def _chain(self) -> Iterator[Metric]:
        engine, reader = self._engine, self._application.reader()
        genesis = self._application.genesis
        labels = {"version": version("merit-ledger"), "chain": genesis.name, "chain_id": str(genesis.chain_id)}
        info = GaugeMetricFamily("merit_node_info", "Which program serves which chain; always 1.", labels=list(labels))
        info.add_metric(list(labels.values()), 1)
        yield info
        versions = GaugeMetricFamily("merit_ledger_version", "Versions in force.", labels=["what"])
        for what, number in reader.versions()._asdict().items():
            versions.add_metric([what], number)
        yield versions
        yield GaugeMetricFamily("merit_height", "The engine's newest durable height.", engine.height)
        yield GaugeMetricFamily("merit_block_number", "The newest block's number.", reader.header().number)
        yield GaugeMetricFamily("merit_validators", "Validators by the state.", len(reader.validators()))
        age = self._clock.monotonic() - engine.decided_at
        yield GaugeMetricFamily("merit_height_age_seconds", "Since the newest height, or the start.", age)
        if (time := engine.bridge.time) is not None:
            lag = self._clock.now() - time.seconds - time.nanos / 1e9
            yield GaugeMetricFamily("merit_block_time_lag_seconds", "Now less the newest height's block time.", lag)
        if engine.handover is not None:
            reached, known = engine.handover.connected
            yield GaugeMetricFamily("merit_peers_known", "Members' nodes that take transactions.", known)
            yield GaugeMetricFamily("merit_peers_reached", "Of these, connected now.", reached)
        free = shutil.disk_usage(self._home.path).free
        yield GaugeMetricFamily("merit_disk_free_bytes", "Free where the home lies.", free)

    def _pool(self) -> Iterator[Metric]:
        engine = self._engine
        yield GaugeMetricFamily("merit_pool_transactions", "Transactions that wait for a block.", len(engine.pool))
        yield GaugeMetricFamily("merit_pool_bytes", "Their bytes.", engine.pool.size)
        for name, text, counts in (
            ("refused", "Transactions that this node did not take.", engine.bridge.refused),
            ("dropped", "Transactions that waited here and became void.", engine.bridge.dropped),
        ):
            family = CounterMetricFamily(f"merit_transactions_{name}", text, labels=["code"])
            for code, count in counts.items():
                family.add_metric([code.name.lower()], count)
            yield family

    def _calls(self) -> Iterator[Metric]:
        seconds = SummaryMetricFamily("merit_abci_seconds", "Answering CometBFT.", labels=["call"])
        longest = GaugeMetricFamily("merit_abci_longest_seconds", "The longest since the start.", labels=["call"])
        for call, spent in self._engine.spent.items():
            seconds.add_metric([call], spent.calls, spent.seconds)
            longest.add_metric([call], spent.longest)
        yield seconds
        yield longest


def _edge(watch: EdgeWatch) -> Iterator[Metric]:
    figures = watch.figures
    yield GaugeMetricFamily("merit_edge_member", "Member id of the edge server.", figures.member)
    yield GaugeMetricFamily("merit_edge_block_number", "The block up to which it has read.", figures.block)
    for name, text, label, counts in (
        ("jobs", "Jobs by status.", "status", figures.jobs),
        ("rounds", "Rounds of all jobs by outcome.", "outcome", figures.rounds),
        ("records", "Records of all jobs by status.", "status", figures.records),
    ):
        family = GaugeMetricFamily(f"merit_edge_{name}", text, labels=[label])
        for value, count in counts.items():
            family.add_metric([value], count)
        yield family
    yield GaugeMetricFamily("merit_edge_rounds_unsettled", "Agreed rounds that are not paid yet.", figures.unsettled)
    yield GaugeMetricFamily("merit_edge_queued_records", "Offered here and not in a block yet.", figures.queued)
    refusals = CounterMetricFamily("merit_edge_refusals", "What it refused from clients, by kind.", labels=["kind"])
    for kind, count in figures.refusals.items():
        refusals.add_metric([kind], count)
    yield refusals
    yield GaugeMetricFamily("merit_edge_blobs", "Blobs in its store.", figures.blobs)
    yield GaugeMetricFamily("merit_edge_blob_bytes", "Their bytes.", figures.blob_bytes)
    yield GaugeMetricFamily("merit_edge_blob_quota_bytes", "What they may have at most.", figures.blob_quota_bytes)
    buckets = [(str(bound), float(count)) for bound, count in watch.buckets.items()]
    yield HistogramMetricFamily(
        "merit_edge_step_seconds", "The edge server's steps.", [*buckets, ("+Inf", watch.steps)], watch.seconds
    )
    yield GaugeMetricFamily("merit_edge_step_longest_seconds", "The longest step since the start.", watch.longest)
    yield CounterMetricFamily("merit_edge_step_failures", "Steps that were cut short.", watch.failures)


class MetricsPage:
    """Answers GET /metrics."""

    def __init__(self, figures: NodeFigures) -> None:
        """Collect the node's figures, and the process's own (CPU, memory, open files)."""
        self._registry = CollectorRegistry()
        self._registry.register(figures)
        ProcessCollector(registry=self._registry)

    async def answer(self) -> Response:
        """Return the text format of Prometheus."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE)
