"""Caches, queues and the Lease show how they fare at each look, and count what happened since the last one once."""

import pytest
from gateway_fake_agent import CountingSink

from stoker_runtime.kube.watch import CacheStats
from stoker_runtime.kube.work_queue import Run, WorkQueue
from stoker_runtime.kube_metrics import KubeMetrics

pytestmark = pytest.mark.unit


class ScriptedCache:
    def __init__(self) -> None:
        self.lists = 1
        self.reconnects = 0

    def stats(self) -> CacheStats:
        return CacheStats(
            objects=7,
            synced=True,
            lag_us=1_500_000,
            lists=self.lists,
            reconnects=self.reconnects,
            unfit=0,
            kind_missing=False,
            problem="",
        )


class ScriptedCandidate:
    age: int | None = None

    def is_leader(self) -> bool:
        return self.age is not None

    def age_us(self) -> int | None:
        return self.age


def test_a_cache_shows_its_objects_and_its_age_and_counts_only_what_is_new() -> None:
    sink, cache = CountingSink(), ScriptedCache()
    figures = KubeMetrics(sink, "gateway")
    figures.add_cache("pods", cache)
    figures.refresh()
    cache.reconnects = 3
    figures.refresh()
    figures.refresh()
    shown = {key[0]: value for key, value in sink.values.items() if key[1:] == ("gateway", "pods")}
    assert shown == {
        "stoker_cache_objects": 7,
        "stoker_cache_lag_seconds": 1.5,
        "stoker_cache_reconnects_total": 3,
        "stoker_cache_lists_total": 1,
        "stoker_cache_unfit_objects_total": 0,
    }


async def test_a_queue_shows_who_waits_who_fails_and_how_long_runs_took() -> None:
    sink = CountingSink()
    figures = KubeMetrics(sink, "operator")

    async def handle(_: str) -> float | None:
        raise ValueError

    queue = WorkQueue(handle, name="nodes", on_run=figures.on_run("nodes"))
    figures.add_queue("nodes", queue)
    queue.add("a")
    figures.refresh()
    assert sink.values["stoker_work_queue_depth", "nodes"] == 1
    queue.start()
    await queue.drained()
    figures.refresh()
    await queue.stop()
    assert sink.values["stoker_work_queue_depth", "nodes"] == 0
    assert sink.values["stoker_work_queue_oldest_seconds", "nodes"] == 0
    assert sink.values["stoker_work_queue_failing", "nodes"] == 1
    assert ("stoker_work_queue_run_seconds", "nodes", "failed") in sink.values
    figures.on_run("nodes")(Run("b", 2_000_000, 500_000, failed=False))
    assert sink.values["stoker_work_queue_wait_seconds", "nodes"] == 2
    assert sink.values["stoker_work_queue_run_seconds", "nodes", "ok"] == 0.5


def test_only_who_leads_has_a_lease_with_an_age() -> None:
    sink, candidate = CountingSink(), ScriptedCandidate()
    figures = KubeMetrics(sink, "operator")
    figures.add_lease("stoker-operator", candidate)
    figures.refresh()
    assert sink.values == {("stoker_operator_leader",): 0}
    candidate.age = 2_000_000
    figures.refresh()
    assert sink.values == {("stoker_operator_leader",): 1, ("stoker_lease_age_seconds", "stoker-operator"): 2}
    candidate.age = None
    figures.refresh()
    assert sink.values == {("stoker_operator_leader",): 0}
