"""Watch caches and leader election against a real API server, which is killed and compacted under them."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from api_server import compact
from msgspec import Struct

from cluster.api_only import ApiServer
from stoker_runtime.kube.backoff import Backoff
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.config import KubeConfig
from stoker_runtime.kube.errors import Gone
from stoker_runtime.kube.lease import LEASES, Elector, LeaseTiming
from stoker_runtime.kube.objects import ObjectMeta, Resource
from stoker_runtime.kube.watch import Cache, WatchTuning

pytest_plugins = ("api_server",)
# Some kill the server and wait until it is ready again.
pytestmark = [pytest.mark.contract, pytest.mark.timeout(60)]


class ConfigMap(Struct, frozen=True):
    metadata: ObjectMeta
    data: dict[str, str] | None = None


CONFIG_MAPS = Resource("", "v1", "configmaps", namespaced=True, type=ConfigMap)
TUNING = WatchTuning(backoff=Backoff(first_s=0.05, most_s=0.5))


class View:
    """What a listener can build from the changes alone."""

    def __init__(self, cache: Cache[ConfigMap]) -> None:
        self.versions: dict[str, str] = {}
        cache.on_change(self)

    def __call__(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        if old is not None:
            assert self.versions.pop(old.metadata.name) == old.metadata.resource_version
        if new is not None:
            assert new.metadata.name not in self.versions
            self.versions[new.metadata.name] = new.metadata.resource_version


async def make(kube: KubeClient, namespace: str, name: str, **labels: str) -> ConfigMap:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}}
    return await kube.create(CONFIG_MAPS, body, namespace)


async def until(true: Callable[[], Any], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


def has_come_to(cache: Cache[Any], version: str) -> bool:
    """Everything up to a version was taken in. Versions of one kind are comparable as numbers."""
    return int(cache._version or 0) >= int(version)


async def truth(kube: KubeClient, namespace: str) -> dict[str, str]:
    page = await kube.list(CONFIG_MAPS, namespace)
    return {item.metadata.name: item.metadata.resource_version for item in page.items}


async def test_every_change_arrives_and_an_object_that_leaves_the_selection_is_gone(
    kube: KubeClient, namespace: str
) -> None:
    await make(kube, namespace, "before", app="x")
    cache = Cache(kube, CONFIG_MAPS, namespace, label_selector="app=x", tuning=TUNING)
    by_data = cache.index_by(lambda item: (item.data or {}).values())
    view = View(cache)
    cache.start()
    await cache.synced.wait()
    assert list(view.versions) == ["before"]
    await make(kube, namespace, "other", app="y")
    new = await make(kube, namespace, "new", app="x")
    assert new.metadata.uid
    changed = await kube.patch(CONFIG_MAPS, "new", {"data": {"k": "v"}}, namespace)
    await until(lambda: has_come_to(cache, changed.metadata.resource_version))
    assert [item.metadata.name for item in by_data.get("v")] == ["new"]
    assert set(view.versions) == {"before", "new"}
    await kube.patch(CONFIG_MAPS, "new", {"metadata": {"labels": {"app": "y"}}}, namespace)
    await kube.delete(CONFIG_MAPS, "before", namespace)
    await until(lambda: not view.versions)
    assert len(cache) == 0
    assert list(by_data.values()) == []
    await cache.stop()


async def test_bookmarks_move_the_version_on_though_nothing_of_the_kind_changes(
    kube: KubeClient, namespace: str
) -> None:
    # A server sends one two seconds before it ends a stream, besides that every minute.
    cache = Cache(kube, LEASES, namespace, tuning=WatchTuning(watch_s=2.5, backoff=TUNING.backoff), rng=Random(1))
    cache.start()
    await cache.synced.wait()
    other = await make(kube, namespace, "other")
    assert not has_come_to(cache, other.metadata.resource_version)
    await kube.list(LEASES, namespace)  # for this the server asks etcd how far this kind is, and so learns it itself
    await until(lambda: has_come_to(cache, other.metadata.resource_version), 15)
    stats = cache.stats()
    assert (stats.lists, stats.objects) == (1, 0)
    await cache.stop()


async def test_a_server_that_is_killed_under_a_watch_costs_no_event(
    api_server: ApiServer, kube: KubeClient, namespace: str
) -> None:
    for number in range(20):
        await make(kube, namespace, f"c{number}")
    cache = Cache(kube, CONFIG_MAPS, namespace, tuning=TUNING)
    view = View(cache)
    cache.start()
    await cache.synced.wait()
    for number in range(5):
        await kube.delete(CONFIG_MAPS, f"c{number}", namespace)
    api_server.kill_api_server()
    await until(lambda: cache.stats().lag_us > 0)
    assert cache.unready(most_lag_s=0.0) is not None
    await asyncio.to_thread(api_server.start_api_server)
    for number in range(5, 10):
        await kube.delete(CONFIG_MAPS, f"c{number}", namespace)
        await make(kube, namespace, f"new-{number}")
        await kube.patch(CONFIG_MAPS, "c15", {"data": {"n": str(number)}}, namespace)
    expected = await truth(kube, namespace)
    await until(lambda: view.versions == expected)
    assert {item.metadata.name for item in cache.items()} == set(expected)
    assert cache.unready() is None
    await cache.stop()


async def test_what_expired_is_listed_anew_and_deletions_are_seen(
    api_server: ApiServer, kube: KubeClient, namespace: str
) -> None:
    for number in range(8):
        await make(kube, namespace, f"c{number}")
    cache = Cache(kube, CONFIG_MAPS, namespace, tuning=TUNING)
    view = View(cache)
    cache.start()
    await until(lambda: len(view.versions) == 8)
    await cache.stop()  # away, as a process that was suspended
    pages = kube.pages(CONFIG_MAPS, namespace, limit=3)
    assert len((await anext(pages)).items) == 3
    for number in range(4):
        await kube.delete(CONFIG_MAPS, f"c{number}", namespace)
    await make(kube, namespace, "c1")  # another object of the same name
    compact(api_server)
    # The server answers old versions from its own memory, until it has none.
    api_server.kill_api_server()
    await asyncio.to_thread(api_server.start_api_server)
    compact(api_server)
    with pytest.raises(Gone):
        await anext(pages)
    cache.start()
    expected = await truth(kube, namespace)
    await until(lambda: view.versions == expected)
    assert cache.stats().lists == 2
    assert len(await truth(kube, namespace)) == 5
    await cache.stop()


async def test_a_kind_that_comes_later_is_picked_up(kube: KubeClient) -> None:
    # As when the operator starts before its CRDs are installed.
    crds = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False, type=ConfigMap)
    later = Resource("late.stoker.dev", "v1", "lates", namespaced=True, type=ConfigMap)
    cache = Cache(kube, later, tuning=WatchTuning(backoff=Backoff(first_s=0.1, most_s=0.1)))
    cache.start()
    await until(lambda: cache.stats().kind_missing)
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "lates.late.stoker.dev"},
        "spec": {
            "group": later.group,
            "scope": "Namespaced",
            "names": {"plural": "lates", "singular": "late", "kind": "Late"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}},
            ],
        },
    }
    await kube.create(crds, body)
    await until(cache.synced.is_set)
    assert cache.unready() is None
    await kube.delete(crds, "lates.late.stoker.dev")
    await cache.stop()


TIMING = LeaseTiming(duration_s=2, renew_deadline_s=1.2, retry_s=0.2)


async def test_of_two_candidates_one_leads_and_the_other_takes_over_when_it_is_cut_off(
    kube: KubeClient, kube_config: KubeConfig, namespace: str
) -> None:
    cut_off = KubeClient(kube_config)
    first = Elector(cut_off, "operator", namespace, identity="first", timing=TIMING, rng=Random(1))
    second = Elector(kube, "operator", namespace, identity="second", timing=TIMING, rng=Random(2))
    first.start()
    await first.acquired.wait()
    second.start()
    both = 0

    async def watch() -> None:
        nonlocal both
        while True:
            both += first.is_leader() and second.is_leader()
            await asyncio.sleep(0.002)

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(1.0)  # some renewals
    assert first.is_leader()
    assert not second.is_leader()
    assert second.holder == "first"
    await cut_off.close()  # it lives on, but reaches nobody
    await asyncio.wait_for(first.lost.wait(), 10)
    assert not second.is_leader()
    await asyncio.wait_for(second.acquired.wait(), 10)
    await asyncio.sleep(0.5)
    watcher.cancel()
    assert both == 0
    assert second.is_leader()
    lease = await kube.get(LEASES, "operator", namespace)
    assert (lease.spec.holder_identity, lease.spec.lease_transitions, second.transitions) == ("second", 1, 1)
    await second.stop()
    assert not (await kube.get(LEASES, "operator", namespace)).spec.holder_identity
    third = Elector(kube, "operator", namespace, identity="third", timing=TIMING)
    third.start()
    await asyncio.wait_for(third.acquired.wait(), TIMING.duration_s - 0.5)  # released: no waiting for it to expire
    await third.stop()
    await first.stop()
