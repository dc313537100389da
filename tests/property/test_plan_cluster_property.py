"""plan() on a cluster whose scheduler and kubelet choose otherwise than planned, whatever happens to it.

The model fails where the plan promises a device twice over, spreads a replica over nodes or reuses an id.
"""

import pytest
from cluster_world import ClusterWorld, gpu, in_namespace
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from planning_world import GPU, S, make_function
from settings_of_tests import examples

from stoker.model.device import Device, DeviceMode
from stoker.model.function import Function, GpuOption, Sharing
from stoker.model.replica import ReplicaState

pytestmark = pytest.mark.property

TENANTS = ("team-a", "team-b")
FUNCTIONS = st.lists(
    st.tuples(
        st.sampled_from(TENANTS),
        st.sampled_from(Sharing),
        st.sampled_from([5_000, 15_000, 30_000]),
        st.integers(1, 2),
        st.integers(0, 1),
        st.integers(1, 2),
    ),
    min_size=1,
    max_size=4,
)
NODES = st.lists(
    st.tuples(
        st.sampled_from(DeviceMode),
        st.lists(st.sampled_from([16_384, 40_960]), min_size=1, max_size=3),
        st.integers(2, 3),
    ),
    min_size=1,
    max_size=3,
)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["load", "load", "load", "sick", "sick", "well", "crash", "unschedulable", "delete"]),
        st.integers(0, 5),
        st.integers(0, 4),
        st.integers(1, 24),
    ),
    max_size=10,
)


def functions_of(drawn: list[tuple[str, Sharing, int, int, int, int]]) -> list[Function]:
    made = []
    for index, (tenant, sharing, memory_mib, count, least, most) in enumerate(drawn):
        option = GpuOption(memory_mib=memory_mib, sharing=sharing, count=count if sharing is Sharing.EXCLUSIVE else 1)
        function = make_function(
            f"f{index}", gpu=(option,), min_replicas=least, max_replicas=most, keep_alive_ttl_us=3 * S
        )
        made.append(in_namespace(function, tenant))
    return made


def devices_of(nodes: list[tuple[DeviceMode, list[int], int]]) -> list[Device]:
    return [
        gpu(f"n{n}", str(i), memory, mode=mode, shares=1 if mode is DeviceMode.WHOLE else shares)
        for n, (mode, memories, shares) in enumerate(nodes)
        for i, memory in enumerate(memories)
    ]


def happen(world: ClusterWorld, event: str, which: int, number: int) -> None:
    keys = sorted(world.functions)
    if event == "load" and keys:
        key = keys[which % len(keys)]
        world.load[key, GPU] = number
        world.wakes[key, GPU] = world.now_us
    elif event in ("sick", "well"):
        position = which % len(world.devices)
        world.devices[position] = replace(world.devices[position], healthy=event == "well", reason="Xid 79")
    elif event == "crash":
        warm = sorted(r.spec.id for r in world.replicas.values() if r.state is ReplicaState.WARM)
        if warm:
            world.crash(warm[0])
    elif event == "unschedulable":
        world.binds = number > 1
    elif event == "delete" and len(keys) > 1:
        del world.functions[keys[which % len(keys)]]


def check(world: ClusterWorld) -> None:
    for device in world.devices:
        blockers = [i for i in world.blockers() if device.id in world.replicas[i].spec.devices]
        assert len(world.holders(device)) <= device.shares
        assert len(blockers) <= device.shares
    if world.max_gpus:
        for tenant, bound in world.max_gpus.items():
            held = sum(len(s.reservations) for i, s in world.asked.items() if i.startswith(f"{tenant}/"))
            # An unfit pod holds its device beside its replacement's until it has gone.
            assert held <= bound + sum(len(r.spec.devices) for r in world.replicas.values() if r.unfit)


@settings(max_examples=examples(16), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FUNCTIONS, NODES, EVENTS, st.booleans(), st.booleans())
def test_whatever_the_kubelet_chooses_promises_hold_and_the_world_comes_to_rest(
    drawn: list[tuple[str, Sharing, int, int, int, int]],
    nodes: list[tuple[DeviceMode, list[int], int]],
    events: list[tuple[str, int, int, int]],
    bounded: bool,
    together: bool,
) -> None:
    world = ClusterWorld(functions_of(drawn), devices_of(nodes))
    world.cross_tenant = frozenset(TENANTS if together else ())
    world.max_gpus = {"team-a": 2} if bounded else {}
    for event, which, number, steps in events:
        happen(world, event, which, number)
        for _ in range(steps):
            first = world.step(500_000)
            check(world)
            assert world.plan().actions == (), "an unchanged world was planned to change"
            assert first.next_due_us > world.now_us
    # Now all is well and nobody asks for anything: within the longest back-off it comes to rest.
    world.devices = [replace(device, healthy=True, reason="") for device in world.devices]
    world.binds = True
    world.load = dict.fromkeys(world.load, 0)
    world.run(200 * S, by_us=2 * S)
    starts = len(world.starts())
    world.run(60 * S, by_us=2 * S)
    assert len(world.starts()) <= starts + 1, "pods come and go without end"
    assert world.blockers() == []
    assert world.memory.claims == ()
    for function in world.functions.values():
        live = [r for r in world.replicas.values() if r.spec.function == function.key]
        assert len(live) <= max(function.spec.scaling.min_replicas, 0)


@settings(max_examples=examples(16), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from([8_000, 16_384, 24_576, 40_960]), min_size=2, max_size=8),
    st.integers(1, 3),
    st.sets(st.integers(0, 7), max_size=3),
)
def test_an_unfit_pod_is_always_replaced_by_one_on_a_good_device_where_there_is_one(
    memories: list[int], wanted: int, sick: set[int]
) -> None:
    devices = [gpu("n", str(i), memory, healthy=i not in sick) for i, memory in enumerate(memories)]
    good = sum(memory >= 20_000 and i not in sick for i, memory in enumerate(memories))
    world = ClusterWorld([make_function(memory_mib=20_000, max_replicas=wanted)], devices)
    world.want("f", wanted)
    world.run(240 * S, by_us=2 * S)
    assert world.warm("f") == min(good, wanted)
    assert world.blockers() == []
    # Each replica needs as many tries as there are wrong devices, and no try is repeated for ever.
    assert len(world.starts()) <= (len(memories) + 1) * wanted * 3
    starts = len(world.starts())
    world.run(60 * S, by_us=S)
    assert len(world.starts()) == starts
