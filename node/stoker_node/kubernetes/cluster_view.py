"""What an agent sees of the API server: its Node, its FunctionNode, the pods of its node, all functions, the policy.

Caches, kept by watches; what they say when the server is away is what was known last. Decides nothing.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import structlog

from stoker.errors import StokerError
from stoker.wire.cluster import L_ROLE, ROLE_PREFETCH, ROLE_REPLICA
from stoker_node.kubernetes.objects import NODES, PODS, Node, Pod
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.errors import Forbidden, KubeError, NotFound
from stoker_runtime.kube.objects import Resource
from stoker_runtime.kube.watch import Cache
from stoker_runtime.own_kinds import FUNCTION_NODES, FUNCTIONS, POLICIES, Applied, FunctionNode

log = structlog.get_logger(__name__)

_RETRY_S = 2.0
_POD_LABELS = f"{L_ROLE} in ({ROLE_REPLICA},{ROLE_PREFETCH})"


class CannotRun(StokerError):  # noqa: N818  the name states the fact
    """Something is missing in the cluster that no waiting brings. The text says what, and how to get it."""


class ClusterView:
    """`await check()`, `start()`, `await synced()`; `await stop()` in the end."""

    def __init__(self, kube: KubeClient, node: str) -> None:
        self._kube = kube
        self._node = node
        self.pods: Cache[Pod] = Cache(kube, PODS, label_selector=_POD_LABELS, field_selector=f"spec.nodeName={node}")
        self.nodes: Cache[Node] = Cache(kube, NODES, field_selector=f"metadata.name={node}")
        self.functions: Cache[Applied] = Cache(kube, FUNCTIONS)
        self.policies: Cache[Applied] = Cache(kube, POLICIES)
        self.function_nodes: Cache[FunctionNode] = Cache(kube, FUNCTION_NODES, field_selector=f"metadata.name={node}")
        self._caches: tuple[Cache[Any], ...] = (
            self.pods,
            self.nodes,
            self.functions,
            self.policies,
            self.function_nodes,
        )
        self.problem = ""
        """Why check() has not ended, in one sentence."""

    async def check(self) -> None:
        """Ask once for everything that will be watched. CannotRun for a kind, a right or a Node that is missing; a
        server that does not answer is waited for.
        """
        for resource, field in (
            (FUNCTIONS, ""),
            (POLICIES, ""),
            (FUNCTION_NODES, f"metadata.name={self._node}"),
            (NODES, f"metadata.name={self._node}"),
            (PODS, f"spec.nodeName={self._node}"),
        ):
            found = await self._ask(resource, field)
            if resource is NODES and not found:
                raise CannotRun(
                    f"The cluster has no node {self._node}: STOKER_NODE_NAME must be the name of the node that this "
                    "agent runs on."
                )
        self.problem = ""

    async def _ask(self, resource: Resource[Any], field: str) -> int:
        """How many there are on a first page of one."""
        while True:
            try:
                async for page in self._kube.pages(resource, field_selector=field, limit=1):
                    return len(page.items) + len(page.broken)
            except NotFound:
                raise CannotRun(
                    f"The API server knows no {resource.plural} of {resource.api_version}: install Stoker's CRDs "
                    "(its Helm chart has them), and this agent starts."
                ) from None
            except Forbidden as err:
                raise CannotRun(
                    f"The agent may not list {resource.plural}: {err.message}. Its ClusterRole is in Stoker's Helm "
                    "chart."
                ) from err
            except KubeError as err:
                if not self.problem:
                    log.warning("api_server_waited_for", error=str(err))
                self.problem = f"The API server cannot be asked: {err}"
                await asyncio.sleep(_RETRY_S)

    def start(self) -> None:
        for cache in self._caches:
            cache.start()

    async def synced(self) -> None:
        """Everything is known once."""
        for cache in self._caches:
            await cache.synced.wait()

    async def stop(self) -> None:
        for cache in self._caches:
            await cache.stop()

    def node(self) -> Node | None:
        return self.nodes.get("", self._node)

    def replica_pods(self) -> Collection[Pod]:
        """Pods that say that they are replicas."""
        return [pod for pod in self.pods.items() if (pod.metadata.labels or {}).get(L_ROLE) == ROLE_REPLICA]

    def unready(self, stale_s: float) -> str | None:
        """Why the view cannot be relied on, in one sentence; None when it can."""
        return next((why for cache in self._caches if (why := cache.unready(stale_s)) is not None), None)

    def on_pods(self, changed: Callable[[], None]) -> None:
        self.pods.on_change(lambda _old, _new: changed())

    def on_functions(self, changed: Callable[[], None]) -> None:
        self.functions.on_change(lambda _old, _new: changed())

    def on_policies(self, changed: Callable[[], None]) -> None:
        self.policies.on_change(lambda _old, _new: changed())

    def on_node(self, changed: Callable[[], None]) -> None:
        self.nodes.on_change(lambda _old, _new: changed())

    def on_function_node(self, changed: Callable[[str], None]) -> None:
        """Gets the uid of the object that exists now, or nothing."""
        self.function_nodes.on_change(lambda _old, new: changed(new.metadata.uid if new is not None else ""))
