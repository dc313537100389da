"""The queueing policy of a setup, with the shares that its functions and namespaces have."""

from stoker.policies.queueing.interface import QueueParams, QueuePolicy, Weights
from stoker.policies.queueing.registry import POLICIES, make_queueing
from stoker.slots.shares import flow_shares
from stoker_sim.engine.setup import Setup
from stoker_sim.workload import Workload


def make_policy(workload: Workload, setup: Setup, slots: int) -> QueuePolicy:
    """A fresh policy for an agent with so many device slots. Raises UnknownName and BadTuning."""
    params = QueueParams(seed=setup.seed, slots=slots, tuning=setup.tuning)
    bare = None if setup.serve_late else POLICIES.get(setup.queueing)
    policy = make_queueing(setup.queueing, params) if bare is None else bare(params)
    flows = flow_shares(function.definition for function in workload.functions)
    policy.set_weights(Weights(flows, dict(setup.namespace_weights)))
    return policy
