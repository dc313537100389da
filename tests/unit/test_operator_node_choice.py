"""Where the pods of functions may go: the nodes of their pool, none that is not ready or cordoned."""

import pytest
from planning_world import GPU, make_function

from stoker.wire.policy import decode_policy
from stoker_operator.kinds import Node, NodeSpec, NodeStatus, TimedCondition
from stoker_operator.node_choice import NodeChoice
from stoker_runtime.kube.objects import ObjectMeta

pytestmark = pytest.mark.unit

FUNCTION = make_function()
POLICY = decode_policy(
    {"apiVersion": "stoker.dev/v1alpha1", "kind": "GpuPolicy", "metadata": {"name": "default"}, "spec": {}}
)
FUNCTIONS = {FUNCTION.key: FUNCTION}


def node(name: str, *, cordoned: bool = False, ready: bool = True) -> Node:
    status = NodeStatus(conditions=(TimedCondition(type="Ready", status="True" if ready else "Unknown"),))
    return Node(metadata=ObjectMeta(name=name), spec=NodeSpec(unschedulable=cordoned), status=status)


def test_without_pools_all_nodes_will_do() -> None:
    choice = NodeChoice()
    choice.set_node("a", node("a"))
    assert choice.of_all(FUNCTIONS, POLICY) == {}


def test_a_cordoned_node_takes_nothing_new_until_it_is_opened_again() -> None:
    choice = NodeChoice()
    choice.set_node("a", node("a"))
    choice.set_node("b", node("b"))
    choice.set_node("b", node("b", cordoned=True))
    assert choice.of_all(FUNCTIONS, POLICY) == {(FUNCTION.key, GPU): frozenset({"a"})}
    choice.set_node("b", node("b"))
    assert choice.of_all(FUNCTIONS, POLICY) == {}


def test_nor_does_one_whose_kubelet_is_away_although_its_agent_speaks() -> None:
    choice = NodeChoice()
    choice.set_node("a", node("a"))
    choice.set_node("b", node("b", ready=False))
    assert choice.of_all(FUNCTIONS, POLICY) == {(FUNCTION.key, GPU): frozenset({"a"})}
    choice.set_node("b", node("b"))
    assert choice.of_all(FUNCTIONS, POLICY) == {}


def test_a_cordoned_node_that_goes_is_forgotten() -> None:
    choice = NodeChoice()
    choice.set_node("b", node("b", cordoned=True))
    assert choice.of_all(FUNCTIONS, POLICY) == {(FUNCTION.key, GPU): frozenset()}
    choice.set_node("b", None)
    assert choice.of_all(FUNCTIONS, POLICY) == {}
