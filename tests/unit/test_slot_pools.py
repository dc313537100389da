"""Which slots the flows of an agent share, and how many there are."""

import pytest

from stoker.model.function import Variant
from stoker.model.replica import ReplicaSpec, ReplicaState
from stoker.slots.arrangement import Arrangement
from stoker.slots.table import Replica, ReplicaTable, Run
from stoker.testing.builders import make_gpu

pytestmark = pytest.mark.unit


def arranged(devices: int, **lives_on: list[str]) -> Arrangement[Replica[Run]]:
    """Shared GPUs of one slot each, and on which of them each flow has a warm replica."""
    table: ReplicaTable[Replica[Run]] = ReplicaTable([make_gpu(f"g{number}") for number in range(devices)])
    for flow, names in lives_on.items():
        for ordinal, name in enumerate(names):
            spec = ReplicaSpec(
                id=f"{flow}-{ordinal}",
                function=flow,
                variant=Variant.GPU,
                revision="r",
                ordinal=ordinal,
                devices=(name,),
            )
            replica: Replica[Run] = Replica(
                spec, table.flow(flow, flow, Variant.GPU), table.devices[name], exclusive=False, now_us=0
            )
            table.add(replica)
            replica.state = ReplicaState.WARM
            table.state_changed(replica)
    arrangement: Arrangement[Replica[Run]] = Arrangement()
    arrangement.renew(table.flows.values())
    return arrangement


def test_a_flow_on_some_of_the_slots_of_a_pool_waits_with_all_who_use_any_of_them() -> None:
    arrangement = arranged(3, everywhere=["g0", "g1"], one=["g1"], apart=["g2"])
    assert arrangement.around("one") == (1, ["everywhere", "one"])
    assert arrangement.pool("one") == (2, ["everywhere", "one"])
    assert arrangement.pool("apart") == (1, ["apart"])
    assert sorted(arrangement.pools()) == [(1, ["apart"]), (2, ["everywhere", "one"])]


def test_a_flow_without_a_warm_replica_is_alone() -> None:
    assert arranged(1, here=["g0"]).pool("elsewhere") == (1, ["elsewhere"])
