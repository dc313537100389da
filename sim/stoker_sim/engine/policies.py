"""The queueing policy of a setup, with the shares that its functions and namespaces have."""

from stoker.names import flow_of
from stoker.policies.queueing.interface import QueueParams, QueuePolicy, Weights
from stoker.policies.queueing.registry import POLICIES, make_queueing
from stoker_sim.engine.setup import Setup
from stoker_sim.workload import Workload


def make_policy(workload: Workload, setup: Setup, slots: int) -> QueuePolicy:
    """A fresh policy for an agent with so many device slots. Raises UnknownName and BadTuning."""
    params = QueueParams(seed=setup.seed, slots=slots, tuning=setup.tuning)
    bare = None if setup.serve_late else POLICIES.get(setup.queueing)
    policy = make_queueing(setup.queueing, params) if bare is None else bare(params)
    shares: dict[str, int] = {}
    for function in workload.functions:
        definition = function.definition
        for variant in definition.variants:
            shares[flow_of(definition.key, variant, definition.primary)] = definition.spec.fair_share
    policy.set_weights(Weights(shares, dict(setup.namespace_weights)))
    return policy
