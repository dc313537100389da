"""The fair shares of what queues on one node: functions by their own `fairShare`, namespaces by the GpuPolicy.

Pure. Knows no queue: what the policies make of shares is theirs.
"""

from collections.abc import Collection, Iterable

from stoker.model.function import Function
from stoker.model.policy import Policy
from stoker.names import flow_of
from stoker.policies.queueing.interface import Weights


def shares_of(functions: Collection[Function], policy: Policy) -> Weights:
    """One share for each flow of the functions, and the weight of each of their namespaces that is not 1."""
    return Weights(flow_shares(functions), policy.weights({function.namespace for function in functions}))


def flow_shares(functions: Iterable[Function]) -> dict[str, int]:
    """The share of each flow within its namespace."""
    return {
        flow_of(function.key, variant, function.primary): function.spec.fair_share
        for function in functions
        for variant in function.variants
    }
