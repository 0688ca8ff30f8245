"""Prometheus metrics of batches and of the machine they run on.

Rates, means and percentiles are left to PromQL, as is usual: throughput is the rate of
``lesson15_documents_total``, the mean time is ``_sum`` over ``_count`` of
``lesson15_document_seconds``, and its 95th percentile a ``histogram_quantile``. The dashboard in
deploy/monitoring shows how.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lesson15.events import DocSettled, Event

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """All metrics of one process, in a registry of their own.

    :meth:`observe` is a listener for ``BatchProcessor.listeners``.
    """

    def __init__(self, state_dir: Path) -> None:
        self.registry = CollectorRegistry()
        self._documents = Counter(
            "lesson15_documents",
            "Documents settled, by outcome: done, failed or skipped.",
            ["status"],
            registry=self.registry,
        )
        for status in ("done", "failed", "skipped"):  # a rate needs the zero before the first one
            self._documents.labels(status)
        self._seconds = Histogram(
            "lesson15_document_seconds",
            "Time from taking up a document to its outcome.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._errors = Counter(
            "lesson15_document_errors",
            "Documents set aside, by type of error.",
            ["type"],
            registry=self.registry,
        )
        self.batches = Gauge(
            "lesson15_batches", "Batches, by state.", ["state"], registry=self.registry
        )
        self.batches_ended = Counter(
            "lesson15_batches_ended", "Batches ended, by state.", ["state"], registry=self.registry
        )
        for state in ("finished", "cancelled", "aborted"):
            self.batches_ended.labels(state)
        self.listeners = Gauge(
            "lesson15_listeners", "Open streams of live progress.", registry=self.registry
        )
        self.requests = Histogram(
            "lesson15_request_seconds",
            "Time to answer HTTP requests, by route and status code.",
            ["method", "route", "code"],
            buckets=_REQUEST_SECONDS,
            registry=self.registry,
        )
        self.registry.register(MachineCollector(state_dir))

    def observe(self, event: Event) -> None:
        """Count the outcome of a document; other events are passed over."""
        if not isinstance(event, DocSettled):
            return
        self._documents.labels(event.status.value).inc()
        self._seconds.observe(event.seconds)
        if event.error_type is not None:
            self._errors.labels(event.error_type).inc()


class MachineCollector(Collector):
    """CPU, memory and disk, read when they are asked for."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        psutil.cpu_percent()  # the first reading is the start of the first interval

    def collect(self) -> Iterable[Metric]:
        """The readings of this moment."""
        memory = psutil.virtual_memory()
        disk = shutil.disk_usage(self._state_dir)
        yield _gauge("lesson15_cpu_ratio", "Share of all cores in use.", psutil.cpu_percent() / 100)
        yield _gauge("lesson15_memory_available_bytes", "Memory to be had.", memory.available)
        yield _gauge("lesson15_memory_total_bytes", "Memory of the machine.", memory.total)
        yield _gauge(
            "lesson15_process_memory_bytes",
            "Resident memory of the server with its worker and parser processes.",
            _resident_bytes(),
        )
        yield _gauge("lesson15_disk_free_bytes", "Free space for state.", disk.free)
        yield _gauge("lesson15_disk_total_bytes", "Size of the disk of the state.", disk.total)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value)


def _resident_bytes() -> int:
    total = 0
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
