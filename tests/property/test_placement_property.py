"""What the filter lets onto a node with shared GPUs, the agent there finds fit, whichever card the kubelet chooses."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.model.device import Device, DeviceKind, DeviceMode
from stoker.model.function import GpuOption, Sharing, Variant
from stoker.model.policy import NamespaceRule, default_policy
from stoker.model.replica import ReplicaState
from stoker.placement.filtering import Fit, filter_node
from stoker.placement.view import Wanted
from stoker.wire.agent import LoadFrame
from stoker.wire.cluster import PodReplica
from stoker.wire.function_node import AgentStatus, FunctionNodeStatus, ResidentStatus, device_status, encode_status
from stoker_node.kubernetes.fitness import Tenant, judge
from stoker_scheduler.bound_pods import Bound
from stoker_scheduler.ledger import ClusterLedger
from stoker_scheduler.load_board import LoadBoard

pytestmark = pytest.mark.property

MEMORY_MIB = {"A": 40, "T": 16}
SHARING_TENANTS = frozenset({"a", "b"})

options = st.builds(
    GpuOption,
    memory_mib=st.sampled_from((3, 6, 9, 14, 25)),
    products=st.sampled_from([(), (), ("A",), ("T",)]),
    sharing=st.just(Sharing.SHARED),
)
arrivals = st.tuples(
    st.sampled_from("aaabbc"), st.lists(options, min_size=2, max_size=3), st.integers(0, 2), st.integers(0, 2)
)
"""Namespace, options, which card the kubelet chooses, and how much of it the agent has told (2: all)."""
cards = st.tuples(
    st.sampled_from(tuple(MEMORY_MIB)),
    st.sampled_from([DeviceMode.TIME_SLICED, DeviceMode.TIME_SLICED, DeviceMode.MPS]),
    st.integers(1, 4),
)


class Node:
    """One node: what is true there, and what its agent has told of it."""

    def __init__(self, made_of: list[tuple[str, DeviceMode, int]]) -> None:
        self.devices = {
            f"GPU-{index}": Device(
                id=f"GPU-{index}",
                kind=DeviceKind.GPU,
                product=product,
                memory_mib=MEMORY_MIB[product],
                mode=mode,
                shares=shares,
                node="n",
            )
            for index, (product, mode, shares) in enumerate(made_of)
        }
        self.held: dict[str, list[Tenant]] = {card: [] for card in self.devices}
        self.told: list[ResidentStatus] = []
        board = LoadBoard()
        board.heard("n", LoadFrame(seq=1, full=True))
        self.ledger = ClusterLedger(board)
        rules = dict.fromkeys(SHARING_TENANTS, NamespaceRule(cross_tenant=True))
        self.ledger.set_policy(msgspec.structs.replace(default_policy(), namespaces=rules))
        for tenant in "abc":
            self.ledger.set_objective(f"{tenant}/f", "1s")

    def arrive(self, number: int, tenant: str, wants: tuple[GpuOption, ...], choice: int, told: int) -> bool:
        """A replica is offered the node; whether it was let in."""
        status = FunctionNodeStatus(
            agent=AgentStatus(pod="x", address="1.2.3.4"),
            devices=tuple(device_status(device) for device in self.devices.values()),
            residents=tuple(self.told),
        )
        self.ledger.set_node("n", encode_status("n", status))
        view = self.ledger.node("n")
        assert view is not None
        uid = f"pod-{number}"
        wanted = Wanted(pod_uid=uid, function=f"{tenant}/f", variant=Variant.GPU, image="i", options=wants)
        if not isinstance(filter_node(wanted, view, self.ledger.cross_tenant()), Fit):
            return False
        replica = PodReplica(
            id=f"{tenant}/f-0123456789-{number}",
            function=f"{tenant}/f",
            function_uid="u",
            variant=Variant.GPU,
            revision="0123456789",
            ordinal=number,
            options=wants,
        )
        open_cards = [card for card in self.devices if len(self.held[card]) < self.devices[card].shares]
        for card in open_cards:
            verdict = judge(replica, [card], self.devices, self.held, SHARING_TENANTS.__contains__)
            assert verdict.unfit == ""
        card = open_cards[choice % len(open_cards)]
        (part,) = judge(replica, [card], self.devices, self.held, SHARING_TENANTS.__contains__).parts
        self.held[card].append(Tenant(tenant, part))
        self.ledger.set_pod(None, Bound(uid, "n", replica))
        if told:
            resident = ResidentStatus(
                namespace=tenant,
                pod=uid,
                pod_uid=uid,
                function="f",
                revision="0123456789",
                variant=Variant.GPU,
                devices=(card,),
                state=ReplicaState.STARTING,
                memory_mib=part.memory_mib if told == 2 else 0,
            )
            self.told.append(resident)
        return True


@settings(max_examples=60)
@given(st.lists(cards, min_size=1, max_size=2), st.lists(arrivals, min_size=4, max_size=8))
def test_no_card_that_the_kubelet_may_choose_is_unfit(
    made_of: list[tuple[str, DeviceMode, int]], pods: list[tuple[str, list[GpuOption], int, int]]
) -> None:
    node = Node(made_of)
    for number, (tenant, wants, choice, told) in enumerate(pods):
        node.arrive(number, tenant, tuple(wants), choice, told)


def test_a_node_is_filled_by_replicas_of_several_kinds() -> None:
    """So the property is about something."""
    node = Node([("A", DeviceMode.TIME_SLICED, 3), ("T", DeviceMode.TIME_SLICED, 2)])
    large = (GpuOption(memory_mib=13, products=("A",), sharing=Sharing.SHARED),)
    either = (*large, GpuOption(memory_mib=8, products=("T",), sharing=Sharing.SHARED))
    let_in = [node.arrive(number, "a", either, number, 2) for number in range(6)]
    assert let_in == [*[True] * 5, False]
