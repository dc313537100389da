"""Nodes that the pods of a function may go to, so that plan() counts no others: of its pool, ready and not cordoned."""

from collections.abc import Mapping

from stoker.control.planning import Pair
from stoker.model.function import Function, Variant
from stoker.model.policy import Policy, Pool
from stoker_operator.kinds import Node


class NodeChoice:
    """Told of nodes, asked for all functions at once; what it found is kept until a node's labels change."""

    def __init__(self) -> None:
        self._labels: dict[str, dict[str, str]] = {}
        """Of the nodes that take new pods."""
        self._closed: set[str] = set()
        self._of_selector: dict[frozenset[tuple[str, str]], frozenset[str]] = {}

    def set_node(self, name: str, node: Node | None) -> None:
        """The newest Node object; None when it is gone."""
        closed = node is not None and (node.cordoned or not node.ready)
        labels = None if node is None or closed else node.metadata.labels or {}
        if closed:
            self._closed.add(name)
        else:
            self._closed.discard(name)
        if labels == self._labels.get(name):
            return
        self._of_selector.clear()
        if labels is None:
            self._labels.pop(name, None)
        else:
            self._labels[name] = labels

    def of_all(self, functions: Mapping[str, Function], policy: Policy) -> dict[Pair, frozenset[str]]:
        """By pair, only where not all nodes will do."""
        if not policy.pools and not self._closed:
            return {}
        anywhere = frozenset(self._labels) if self._closed else None
        found: dict[Pair, frozenset[str]] = {}
        for key, function in functions.items():
            for variant in function.variants:
                pool = pool_of(function, variant, policy)
                if pool is not None and pool.node_selector:
                    found[key, variant] = self._nodes(pool)
                elif anywhere is not None:
                    found[key, variant] = anywhere
        return found

    def _nodes(self, pool: Pool) -> frozenset[str]:
        selector = frozenset(pool.node_selector.items())
        nodes = self._of_selector.get(selector)
        if nodes is None:
            nodes = frozenset(name for name, labels in self._labels.items() if selector <= labels.items())
            self._of_selector[selector] = nodes
        return nodes


def pool_of(function: Function, variant: Variant, policy: Policy) -> Pool | None:
    """The pool that the pods of a variant go to."""
    on_gpu = variant is Variant.GPU and bool(function.spec.gpu)
    return policy.pool(function.namespace, variant, function.spec.gpu[0].resource_name if on_gpu else None)
