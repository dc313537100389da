"""The fair shares of what queues on one node: functions by their own `fairShare`, namespaces by the GpuPolicy.

Pure. Knows no queue: what the policies make of shares is theirs.
"""

from collections.abc import Iterable

from stoker.model.function import Function
from stoker.model.policy import Policy
from stoker.names import flow_of
from stoker.policies.queueing.interface import Weights


def shares_of(functions: Iterable[Function], policy: Policy) -> Weights:
    """One share for each flow of the functions, and the weight of each of their namespaces that is not 1."""
    flows: dict[str, int] = {}
    namespaces: set[str] = set()
    for function in functions:
        namespaces.add(function.namespace)
        for variant in function.variants:
            flows[flow_of(function.key, variant, function.primary)] = function.spec.fair_share
    return Weights(flows, policy.weights(namespaces))
