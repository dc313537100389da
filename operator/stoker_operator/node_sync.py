"""One FunctionNode per node that has an agent, owned by its Node object so that it goes with it.

Level-triggered over agents, Nodes and FunctionNodes. Writes nothing but the object itself: its status is the agent's.
"""

import contextlib

import structlog

from stoker.metrics import WRITES, MetricsSink
from stoker.wire.function_node import function_node
from stoker_operator.kinds import FUNCTION_NODES, FunctionNode, Node
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.errors import AlreadyExists, Conflict, NotFound
from stoker_runtime.kube.objects import Seen
from stoker_runtime.kube.watch import Cache

log = structlog.get_logger(__name__)

GONE_LOOK_S = 5.0
"""The garbage collector takes the FunctionNode of a Node that was registered anew; until then the name is taken."""


class NodeSync:
    """`handle(node)` for a work queue."""

    def __init__(
        self, kube: KubeClient, nodes: Cache[Node], function_nodes: Cache[FunctionNode], metrics: MetricsSink
    ) -> None:
        self._kube = kube
        self._nodes = nodes
        self._function_nodes = function_nodes
        self._metrics = metrics

    async def handle(self, name: str) -> float | None:
        """See to the FunctionNode of a node with an agent; the seconds until it wants to be looked at again."""
        node = self._nodes.get("", name)
        if node is None:
            return None
        present = self._function_nodes.get("", name)
        if present is not None:
            owners = present.metadata.owner_references or ()
            if any(owner.uid == node.metadata.uid for owner in owners):
                return None
            # Of a Node that is no more: nothing in it is true of this one.
            with contextlib.suppress(NotFound, Conflict):
                await self._kube.delete(FUNCTION_NODES, name, seen=Seen.of(present))
            return GONE_LOOK_S
        try:
            await self._kube.create(FUNCTION_NODES, function_node(name, node.metadata.uid))
        except AlreadyExists:
            return GONE_LOOK_S
        self._metrics.inc(WRITES, FUNCTION_NODES.plural, "create")
        log.info("function_node_created", node=name)
        return None
