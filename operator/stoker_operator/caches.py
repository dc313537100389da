"""The watch caches of an operator: kept by the leader and by its stand-in, so that taking over is quick."""

import asyncio
from collections.abc import Callable
from typing import Any

from stoker.wire.cluster import L_FUNCTION, L_FUNCTION_ACCOUNT, L_ROLE, ROLE_PREFETCH, ROLE_REPLICA
from stoker_operator.kinds import (
    FUNCTION_NODES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    REVISIONS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Object,
    Pod,
    Revision,
)
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.lease import LEASES, Lease
from stoker_runtime.kube.watch import Cache

OnChange = Callable[[Any, Any], None]


class Caches:
    """`start()`, `await synced()`, `attach(...)` when this process leads, `await stop()`."""

    def __init__(self, kube: KubeClient, namespace: str) -> None:
        """`namespace` is Stoker's own, where the agents keep their Leases."""
        # Only what carries our labels: a cluster may have 20,000 pods of others.
        self.pods: Cache[Pod] = Cache(kube, PODS, label_selector=f"{L_ROLE}={ROLE_REPLICA}")
        self.prefetch_pods: Cache[Pod] = Cache(kube, PODS, label_selector=f"{L_ROLE}={ROLE_PREFETCH}")
        self.nodes = Cache(kube, NODES)
        self.function_nodes = Cache(kube, FUNCTION_NODES)
        self.leases: Cache[Lease] = Cache(kube, LEASES, namespace)
        self.revisions: Cache[Revision] = Cache(kube, REVISIONS, label_selector=L_FUNCTION)
        self.services: Cache[Object] = Cache(kube, SERVICES, label_selector=L_FUNCTION)
        self.network_policies: Cache[Object] = Cache(kube, NETWORK_POLICIES, label_selector=L_FUNCTION)
        self.accounts: Cache[Object] = Cache(kube, SERVICE_ACCOUNTS, label_selector=f"{L_FUNCTION_ACCOUNT}=true")
        self._accounts_in = self.accounts.index_by(lambda account: [account.metadata.namespace])
        self._all: tuple[Cache[Any], ...] = (
            self.pods,
            self.prefetch_pods,
            self.nodes,
            self.function_nodes,
            self.leases,
            self.revisions,
            self.services,
            self.network_policies,
            self.accounts,
        )

    def named(self) -> dict[str, Cache[Any]]:
        """All of them, by the names that metrics give them."""
        return {"prefetch-pods" if cache is self.prefetch_pods else cache.resource.plural: cache for cache in self._all}

    def start(self) -> None:
        """Follow everything."""
        for cache in self._all:
            cache.start()

    async def stop(self) -> None:
        """Follow nothing more."""
        for cache in self._all:
            await cache.stop()

    async def synced(self) -> None:
        """Wait until everything was seen once."""
        await asyncio.gather(*(cache.synced.wait() for cache in self._all))

    def unready(self) -> str | None:
        """Why what is known cannot be relied on, in one sentence."""
        return next((problem for cache in self._all if (problem := cache.unready()) is not None), None)

    @property
    def missing_kind(self) -> str | None:
        """The sentence for a kind that the API server does not know."""
        return next((cache.unready() for cache in self._all if cache.stats().kind_missing), None)

    def attach(
        self,
        *,
        on_pod: OnChange,
        on_node: OnChange,
        on_function_node: OnChange,
        on_lease: OnChange,
        on_revision: OnChange,
        on_owned: Callable[[str], None],
    ) -> None:
        """Tell of everything that is known, then of every change. `on_owned` gets the key of the function whose
        Service or NetworkPolicy changed.
        """
        pairs: tuple[tuple[Cache[Any], OnChange], ...] = (
            (self.nodes, on_node),
            (self.function_nodes, on_function_node),
            (self.leases, on_lease),
            (self.revisions, on_revision),
            (self.pods, on_pod),
        )
        for cache, listener in pairs:
            for item in list(cache.items()):
                listener(None, item)
            cache.on_change(listener)

        def owned(before: Any, after: Any) -> None:
            meta = (after or before).metadata
            on_owned(f"{meta.namespace}/{(meta.labels or {}).get(L_FUNCTION, meta.name)}")

        self.services.on_change(owned)
        self.network_policies.on_change(owned)

    def accounts_of(self, namespace: str) -> frozenset[str]:
        """ServiceAccounts of a namespace that functions may name."""
        return frozenset(account.metadata.name for account in self._accounts_in.get(namespace))
