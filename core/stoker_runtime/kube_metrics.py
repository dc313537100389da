"""Shows how the parts of stoker_runtime.kube fare: caches, work queues, the Lease. Sets metrics and judges nothing.

Gauges are set when somebody looks (`refresh()` before each scrape); only the runs of a queue are counted as they end.
"""

from collections.abc import Callable
from typing import Any, Protocol

from stoker.metrics import (
    CACHE_LAG,
    CACHE_LISTS,
    CACHE_OBJECTS,
    CACHE_RECONNECTS,
    CACHE_UNFIT,
    LEADER,
    LEASE_AGE,
    QUEUE_DEPTH,
    QUEUE_FAILING,
    QUEUE_OLDEST,
    QUEUE_RUN_SECONDS,
    QUEUE_WAIT_SECONDS,
    MetricSpec,
    MetricsSink,
)
from stoker_runtime.kube.watch import CacheStats
from stoker_runtime.kube.work_queue import Run


class HasStats(Protocol):
    """A Cache."""

    def stats(self) -> CacheStats: ...


class Queue(Protocol):
    """A WorkQueue."""

    @property
    def depth(self) -> int: ...
    @property
    def failing(self) -> int: ...
    def oldest_age_us(self) -> int: ...


class Candidate(Protocol):
    """An Elector."""

    def is_leader(self) -> bool: ...
    def age_us(self) -> int | None: ...


class KubeMetrics:
    """Of one process. Names of caches and queues are chosen by who has them and differ within a component."""

    def __init__(self, sink: MetricsSink, component: str) -> None:
        self._sink = sink
        self._component = component
        self._caches: dict[str, HasStats] = {}
        self._queues: dict[str, Queue] = {}
        self._leases: dict[str, Candidate] = {}
        self._counted: dict[tuple[str, str], int] = {}

    def add_cache(self, name: str, cache: HasStats) -> None:
        """Show a cache from now on."""
        self._caches[name] = cache

    def add_queue(self, name: str, queue: Queue) -> None:
        """Show a queue from now on."""
        self._queues[name] = queue

    def add_lease(self, name: str, candidate: Candidate) -> None:
        """Show whether this process leads."""
        self._leases[name] = candidate

    def on_run(self, name: str) -> Callable[[Run[Any]], None]:
        """The `on_run` of the queue of that name."""

        def ran(run: Run[Any]) -> None:
            self._sink.observe(QUEUE_WAIT_SECONDS, run.waited_us / 1e6, name)
            self._sink.observe(QUEUE_RUN_SECONDS, run.ran_us / 1e6, name, "failed" if run.failed else "ok")

        return ran

    def refresh(self) -> None:
        """Set everything as it is now."""
        for name, cache in self._caches.items():
            self._show_cache(name, cache.stats())
        for name, queue in self._queues.items():
            self._sink.set(QUEUE_DEPTH, queue.depth, name)
            self._sink.set(QUEUE_OLDEST, queue.oldest_age_us() / 1e6, name)
            self._sink.set(QUEUE_FAILING, queue.failing, name)
        for name, candidate in self._leases.items():
            self._sink.set(LEADER, int(candidate.is_leader()))
            age_us = candidate.age_us()
            if age_us is None:
                self._sink.forget(LEASE_AGE, name)
            else:
                self._sink.set(LEASE_AGE, age_us / 1e6, name)

    def _show_cache(self, name: str, stats: CacheStats) -> None:
        labels = (self._component, name)
        self._sink.set(CACHE_OBJECTS, stats.objects, *labels)
        self._sink.set(CACHE_LAG, stats.lag_us / 1e6, *labels)
        self._count(CACHE_RECONNECTS, stats.reconnects, name)
        self._count(CACHE_LISTS, stats.lists, name)
        self._count(CACHE_UNFIT, stats.unfit, name)

    def _count(self, spec: MetricSpec, total: int, name: str) -> None:
        """The cache has counted to `total` since it began."""
        counted = self._counted.get((spec.name, name), 0)
        self._sink.inc(spec, self._component, name, amount=total - counted)
        self._counted[spec.name, name] = total
