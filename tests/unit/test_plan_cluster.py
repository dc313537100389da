"""plan() over many nodes: sharing modes, tenants, quotas, and a kubelet that chooses the wrong device."""

import pytest
from cluster_world import ClusterWorld, gpu, in_namespace
from msgspec.structs import replace
from planning_world import GPU, S, make_function, revision_of, status_of

from stoker.control.plan import plan
from stoker.control.planning import Drain, Kill, Observed, PlanParams, Start
from stoker.model.device import Device, DeviceKind, DeviceMode, Reservation
from stoker.model.function import ContainerSpec, Function, GpuOption, Sharing
from stoker.model.gpu_fault import FaultCode
from stoker.model.replica import ReplicaState
from stoker.reasons import Reason

pytestmark = pytest.mark.unit

SLICED, MPS = DeviceMode.TIME_SLICED, DeviceMode.MPS


def shared(name: str, memory_mib: int = 10_000, **fields: object) -> Function:
    return make_function(name, memory_mib=memory_mib, sharing=Sharing.SHARED, **fields)  # type: ignore[arg-type]


def started(world: ClusterWorld) -> list[str]:
    return [a.reservations[0].device_id for a in world.plan().actions if isinstance(a, Start)]


def reason_of(world: ClusterWorld, name: str, condition: str = "Ready") -> Reason:
    assert world.last is not None
    return world.last.statuses[name].condition(condition).reason


def test_all_devices_of_a_replica_are_in_one_node_the_fullest_that_has_enough() -> None:
    pair = make_function("pair", gpu=(GpuOption(memory_mib=1000, count=2),))
    devices = [gpu("a", "0"), *(gpu("b", str(i)) for i in range(4)), *(gpu("c", str(i)) for i in range(2))]
    world = ClusterWorld([pair], devices)
    world.want("pair", 2)
    starts = [a for a in world.plan().actions if isinstance(a, Start)]
    assert [{r.device_id.partition("/")[0] for r in start.reservations} for start in starts] == [{"c"}, {"b"}]


def test_two_devices_on_two_nodes_do_not_make_a_pair() -> None:
    pair = make_function("pair", gpu=(GpuOption(memory_mib=1000, count=2),))
    world = ClusterWorld([pair], [gpu("a", "0"), gpu("b", "0")])
    world.want("pair", 1)
    assert started(world) == []
    assert reason_of(world, "default/pair") is Reason.NO_FITTING_DEVICE


def test_an_exclusive_replica_goes_on_whole_devices_only() -> None:
    world = ClusterWorld([make_function()], [gpu("a", "0", mode=SLICED, shares=4)])
    world.want("f", 1)
    assert started(world) == []
    assert world.last is not None
    assert "shared by 4 pods" in world.last.statuses["default/f"].why_waiting
    world.devices.append(gpu("b", "0"))
    assert started(world) == ["b/0"]


def test_a_whole_device_takes_one_pod_even_of_functions_that_would_share() -> None:
    world = ClusterWorld([shared("a"), shared("b")], [gpu("n", "0"), gpu("n", "1")])
    world.want("a", 1)
    world.want("b", 1)
    assert sorted(started(world)) == ["n/0", "n/1"]


def test_a_sliced_device_takes_as_many_pods_as_it_has_shares_and_as_their_memory_fits() -> None:
    world = ClusterWorld([shared("f", 9_000)], [gpu("n", "0", mode=SLICED, shares=3)])
    world.want("f", 9)
    assert len(started(world)) == 3
    tight = ClusterWorld([shared("f", 15_000)], [gpu("n", "0", mode=SLICED, shares=3)])
    tight.want("f", 9)
    assert len(started(tight)) == 2


def test_a_sliced_node_passes_only_if_every_gpu_with_a_free_share_fits() -> None:
    # The kubelet may choose either: 20 GiB are free on one and 40 on the other.
    big = gpu("n", "0", mode=SLICED, shares=2)
    other = gpu("n", "1", mode=SLICED, shares=2)
    held = status_of("held", devices=("n/0",), ready_us=1, in_flight=1)
    ledger = Reservation(replica_id=held.spec.id, device_id="n/0", memory_mib=20_960, sharing=Sharing.SHARED)
    functions = {f.key: f for f in (shared("f", 25_000, min_replicas=1), shared("held", 20_960))}
    observed = Observed(functions=functions, devices=(big, other), replicas=(held,), reservations=(ledger,))
    assert plan(observed, 50 * S, PlanParams()).actions == ()
    full = replace(observed, devices=(replace(big, shares=1), other))
    assert [type(a) for a in plan(full, 50 * S, PlanParams()).actions] == [Start]


def test_pods_whose_device_is_not_known_count_on_every_sliced_device_of_their_node() -> None:
    devices = [gpu("n", str(i), mode=SLICED, shares=2) for i in range(2)]
    world = ClusterWorld([shared("f", 25_000, max_replicas=4)], devices)
    world.binds = False
    world.want("f", 4)
    assert len(started(world)) == 1
    world.step()
    world.binds = True
    # Now the first one is known to be on one of them, so the other is the only one with room; the kubelet sees two.
    world.step()
    assert len(world.starts()) == 1
    assert world.unfit == []


def test_under_mps_a_replica_gets_at_most_its_equal_part_of_the_memory() -> None:
    world = ClusterWorld([shared("small", 10_000), shared("large", 12_000)], [gpu("n", "0", mode=MPS, shares=4)])
    world.want("small", 1)
    world.want("large", 1)
    assert len(started(world)) == 1
    assert reason_of(world, "default/large") is Reason.NO_FITTING_DEVICE


@pytest.mark.parametrize(
    ("mode", "allowed", "together"),
    [
        (SLICED, (), False),
        (SLICED, ("team-a",), False),
        (SLICED, ("team-a", "team-b"), True),
        (MPS, ("team-a", "team-b"), False),
    ],
)
def test_namespaces_share_a_device_only_where_the_policy_lets_both(
    mode: DeviceMode, allowed: tuple[str, ...], together: bool
) -> None:
    functions = [in_namespace(shared("f", 5_000, min_replicas=1), name) for name in ("team-a", "team-b")]
    world = ClusterWorld(functions, [gpu("n", "0", mode=mode, shares=4)])
    world.cross_tenant = frozenset(allowed)
    assert len(started(world)) == (2 if together else 1)


def test_the_names_of_other_tenants_functions_are_not_told() -> None:
    functions = [in_namespace(make_function("secret-project", min_replicas=1), "team-a"), make_function("b")]
    world = ClusterWorld(functions, [gpu("n", "0")])
    world.plan()
    world.want("b", 1)
    world.step()
    assert world.last is not None
    told = world.last.statuses["default/b"].why_waiting
    assert "secret" not in told
    assert "1 function of other namespaces" in told


def test_a_namespace_holds_no_more_gpus_than_it_may_and_says_so() -> None:
    functions = [make_function("a", max_replicas=3), in_namespace(make_function("a", max_replicas=3), "other")]
    world = ClusterWorld(functions, [gpu("n", str(i)) for i in range(8)])
    world.max_gpus = {"default": 2}
    world.want("a", 3)
    world.load["other/a", GPU] = 3
    world.plan()
    assert len([s for s in world.starts() if s.function.namespace == "default"]) == 2
    assert len(world.starts()) == 5
    assert reason_of(world, "default/a", "Reconciling") is Reason.INITIALISING
    world.run(5 * S)
    assert reason_of(world, "default/a", "Reconciling") is Reason.QUOTA_EXCEEDED
    none = ClusterWorld([make_function("a")], [gpu("n", "0")])
    none.max_gpus = {"default": 0}
    none.want("a", 1)
    none.plan()
    assert reason_of(none, "default/a") is Reason.QUOTA_EXCEEDED
    assert none.last is not None
    assert none.last.statuses["default/a"].why_waiting.endswith("holds 0 of the 0 GPUs that GpuPolicy allows it")


def test_at_its_quota_an_idle_replica_of_the_same_namespace_gives_way_and_no_other() -> None:
    functions = [make_function("a"), make_function("b"), in_namespace(make_function("c"), "other")]
    world = ClusterWorld(functions, [gpu("n", str(i)) for i in range(3)])
    world.max_gpus = {"default": 1}
    world.load["other/c", GPU] = 1
    world.want("a", 1)
    world.until(lambda: world.warm("a") == 1)
    world.want("a", 0)
    world.load["other/c", GPU] = 0
    world.run(2 * S)
    world.want("b", 1)
    world.until(lambda: world.warm("b") == 1)
    assert [(d.replica_id.partition("-")[0], d.reason) for d in world.drains()] == [("default/a", Reason.GIVES_WAY)]


def test_pods_go_only_to_the_nodes_of_their_pool() -> None:
    function = make_function(min_replicas=1)
    observed = Observed(
        functions={function.key: function},
        devices=(gpu("a", "0"), gpu("b", "0", 81_920)),
        nodes={(function.key, GPU): frozenset({"b"})},
    )
    (start,) = plan(observed, S, PlanParams()).actions
    assert isinstance(start, Start)
    assert start.spec.devices == ("b/0",)
    nowhere = plan(replace(observed, nodes={(function.key, GPU): frozenset()}), S, PlanParams())
    assert nowhere.actions == ()
    assert "2 of 2 on nodes that take no pod of it" in nowhere.statuses[function.key].why_waiting


def test_two_gpus_of_which_one_fits_and_a_kubelet_that_gives_the_other_first() -> None:
    world = ClusterWorld([make_function(memory_mib=30_000, max_replicas=1)], [gpu("n", "0", 16_384), gpu("n", "1")])
    world.want("f", 1)
    world.until(lambda: bool(world.unfit))
    # The pod on the small one blocks it while its replacement gets the other one; then it goes.
    assert len(world.blockers()) == 1
    assert len(world.replicas) == 2
    assert reason_of(world, "default/f") in (Reason.INITIALISING, Reason.WAITING_FOR_NODE)
    world.until(lambda: world.warm("f") == 1 and not world.blockers())
    assert [d.reason for d in world.drains()] == [Reason.UNFIT_DEVICE]
    world.run(60 * S)
    assert len(world.starts()) == 2
    assert world.warm("f") == 1


def test_on_a_node_with_one_good_device_of_eight_as_many_block_as_it_takes_and_then_all_go() -> None:
    devices = [*(gpu("n", str(i), 16_384) for i in range(7)), gpu("n", "7")]
    world = ClusterWorld([make_function(memory_mib=30_000, max_replicas=1)], devices)
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1 and len(world.replicas) == 1)
    assert len(world.starts()) == 8
    world.run(30 * S)
    assert len(world.starts()) == 8


def test_a_pod_on_a_quarantined_device_blocks_it_until_its_replacement_has_a_good_one() -> None:
    world = ClusterWorld([make_function(max_replicas=1)], [gpu("n", "0", healthy=False), gpu("n", "1")])
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1 and len(world.replicas) == 1)
    assert len(world.starts()) == 2


def test_two_functions_that_block_each_others_device_both_get_theirs() -> None:
    # Each pod lands on the device that only the other can use; if both let go at once they would do so for ever.
    functions = [
        make_function("a", gpu=(GpuOption(memory_mib=1000, products=("A100-40GB",)),), max_replicas=1),
        make_function("b", gpu=(GpuOption(memory_mib=1000, products=("L4",)),), max_replicas=1),
    ]
    world = ClusterWorld(functions, [gpu("n", "0", 20_000), gpu("n", "1", 20_000, product="L4")])
    world.want("a", 1)
    world.want("b", 1)
    world.until(lambda: world.warm("a") == 1 and world.warm("b") == 1, limit_us=120 * S)
    world.until(lambda: len(world.replicas) == 2)
    assert len(world.starts()) <= 6


def test_a_blocker_whose_replacement_cannot_be_started_goes_and_its_node_is_left_alone_for_a_while() -> None:
    functions = [make_function("big", memory_mib=30_000, max_replicas=1), make_function("other", min_replicas=1)]
    world = ClusterWorld(functions, [gpu("n", "0", 16_384), gpu("n", "1")])
    world.want("big", 1)
    world.plan()
    world.functions.pop("default/other")
    # The only device that fits is gone by the time the pod has landed on the wrong one.
    world.until(lambda: bool(world.unfit))
    world.devices[1] = replace(world.devices[1], healthy=False, reason="Xid 79")
    world.run(3 * S)
    assert world.blockers() == []
    assert reason_of(world, "default/big") in (Reason.UNFIT_DEVICE, Reason.QUARANTINED)
    starts = len(world.starts("big"))
    world.devices[1] = replace(world.devices[1], healthy=True, reason="")
    world.step()
    assert reason_of(world, "default/big") is Reason.UNFIT_DEVICE
    assert len(world.starts("big")) == starts
    world.until(lambda: world.warm("big") == 1, limit_us=120 * S)


def test_while_a_node_is_avoided_other_nodes_are_used_and_the_pod_is_told_to_keep_away() -> None:
    function = make_function(memory_mib=30_000, min_replicas=1)
    small, good = gpu("n", "0", 16_384), gpu("n", "1")
    unfit = status_of(state=ReplicaState.STARTING, devices=("n/0",), unfit="it is too small", started_us=S)
    observed = Observed(functions={function.key: function}, devices=(small,), replicas=(unfit,))
    first = plan(observed, 50 * S, PlanParams())
    # Nothing else could be tried, so it went; now the node has a good device too, and so has another one.
    assert first.actions == (Drain(replica_id=unfit.spec.id, reason=Reason.UNFIT_DEVICE),)
    after = Observed(functions=observed.functions, devices=(small, good, gpu("m", "0")), memory=first.memory)
    (start,) = plan(after, 51 * S, PlanParams()).actions
    assert isinstance(start, Start)
    assert (start.spec.devices, start.avoid_nodes) == (("m/0",), ("n",))
    alone = replace(after, devices=(small, good))
    waits = plan(alone, 51 * S, PlanParams())
    assert (waits.actions, waits.next_due_us) == ((), 52 * S)
    assert waits.statuses[function.key].condition("Ready").reason is Reason.UNFIT_DEVICE
    assert len(plan(alone, 60 * S, PlanParams()).actions) == 1


def test_an_unfit_pod_is_not_killed_for_its_start_up_time_nor_counted_as_a_failure() -> None:
    function = make_function(min_replicas=1, container=ContainerSpec(startup_timeout_us=S))
    unfit = status_of(state=ReplicaState.STARTING, devices=("n/0",), unfit="it is too small")
    pulling = status_of(
        ordinal=1, state=ReplicaState.STARTING, devices=("n/1",), waiting=Reason.PULLING_IMAGE, waiting_detail="x"
    )
    observed = Observed(
        functions={function.key: function}, devices=(gpu("n", "0"), gpu("n", "1")), replicas=(unfit, pulling)
    )
    result = plan(observed, 50 * S, PlanParams())
    assert not any(isinstance(action, Kill) for action in result.actions)
    assert result.memory.functions[function.key].back_off == {}
    slow = replace(observed, replicas=(replace(pulling, waiting=Reason.INITIALISING),))
    assert any(isinstance(action, Kill) for action in plan(slow, 50 * S, PlanParams()).actions)


def test_a_warm_replica_on_a_device_that_fell_ill_serves_until_its_replacement_is_warm() -> None:
    world = ClusterWorld([make_function(max_replicas=1)], [gpu("n", "0"), gpu("n", "1")])
    world.kind = True
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1)
    ((identity, status),) = world.replicas.items()
    sick = world.device(status.spec.devices[0])
    world.devices[world.devices.index(sick)] = replace(sick, healthy=False, reason="Xid 48", fault=FaultCode.XID)
    while identity in world.replicas:
        world.step()
        assert world.warm("f") >= 1
        assert world.now_us < 200 * S
    assert [d.reason for d in world.drains()] == [Reason.QUARANTINED]
    assert reason_of(world, "default/f") is Reason.READY
    world.run(10 * S)
    assert len(world.starts()) == 2


def test_without_a_healthy_device_it_stays_and_the_condition_says_quarantined() -> None:
    world = ClusterWorld([make_function(max_replicas=1)], [gpu("n", "0")])
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1)
    world.devices[0] = replace(world.devices[0], healthy=False, reason="Xid 48", fault=FaultCode.XID)
    world.run(30 * S)
    assert world.warm("f") == 1
    assert world.last is not None
    ready = world.last.statuses["default/f"].condition("Ready")
    assert (ready.status, ready.reason) == (True, Reason.QUARANTINED)
    assert "Xid 48" in ready.message
    assert world.drains() == []


@pytest.mark.parametrize("fault", [None, FaultCode.NOT_OFFERED], ids=["its node is silent", "its plugin is away"])
def test_a_device_that_takes_nothing_new_and_is_not_ill_keeps_the_warm_replica_on_it(fault: FaultCode | None) -> None:
    world = ClusterWorld([make_function(max_replicas=1)], [gpu("n", "0"), gpu("n", "1")])
    world.kind = True
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1)
    ((_, status),) = world.replicas.items()
    device = world.device(status.spec.devices[0])
    world.devices[world.devices.index(device)] = replace(device, healthy=False, reason="not now", fault=fault)
    world.run(60 * S)
    assert (len(world.starts()), world.drains()) == (1, [])
    assert reason_of(world, "default/f") is Reason.READY


def test_an_idle_one_goes_first_where_the_scheduler_lets_no_replacement_in_beside_it() -> None:
    # The sick device in use counts against its node: of two allocatable one is left, and that is taken.
    world = ClusterWorld([make_function(max_replicas=1)], [gpu("n", "0"), gpu("n", "1")])
    world.kind = True
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1)
    ((_, status),) = world.replicas.items()
    sick = world.device(status.spec.devices[0])
    world.devices[world.devices.index(sick)] = replace(sick, healthy=False, reason="Xid 48", fault=FaultCode.XID)
    world.want("f", 0)
    world.binds = False
    world.run(S)
    for identity, replica in list(world.replicas.items()):
        if replica.state is ReplicaState.STARTING:
            world._change(identity, waiting=Reason.WAITING_FOR_GPU)
    world.run(9 * S)
    assert world.warm("f") == 1
    world.run(3 * S)
    assert world.warm("f") == 0
    assert Reason.QUARANTINED in [d.reason for d in world.drains()]


def test_an_ended_pod_that_is_still_there_keeps_its_ordinal() -> None:
    function = make_function(min_replicas=1)
    failed = status_of(state=ReplicaState.GONE, devices=("n/0",))
    observed = Observed(
        functions={function.key: function},
        devices=(gpu("n", "0"),),
        replicas=(failed,),
        leaving=frozenset({f"default/f-{revision_of(1)}-1", f"default/f-{revision_of(2)}-2"}),
    )
    (start,) = plan(observed, 50 * S, PlanParams()).actions
    assert isinstance(start, Start)
    assert start.spec.ordinal == 2


def test_an_unfit_pod_of_a_deleted_function_or_of_an_old_revision_goes_at_once() -> None:
    function = make_function(revision=2)
    unfit = status_of(state=ReplicaState.STARTING, devices=("n/0",), unfit="it is too small")
    observed = Observed(functions={function.key: function}, devices=(gpu("n", "0"),), replicas=(unfit,))
    assert plan(observed, S, PlanParams()).actions == (
        Drain(replica_id=unfit.spec.id, reason=Reason.REVISION_REPLACED),
    )
    gone = replace(observed, functions={})
    assert plan(gone, S, PlanParams()).actions == (Drain(replica_id=unfit.spec.id, reason=Reason.DELETING),)


def test_cpu_replicas_spread_over_the_cores_of_several_nodes() -> None:
    devices = [
        Device(id=f"{n}/cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=8000, millicores=1000, node=n)
        for n in ("a", "b")
    ]
    function = make_function(gpu=(), container=ContainerSpec(cpu_millis=900, memory_mib=100))
    observed = Observed(
        functions={function.key: function},
        devices=tuple(devices),
        demand={
            function.key: {
                function.primary: __import__("stoker.model.demand", fromlist=["x"]).VariantDemand(in_system=5)
            }
        },
    )
    result = plan(observed, S, PlanParams())
    assert sorted(a.spec.devices[0] for a in result.actions if isinstance(a, Start)) == ["a/cpu", "b/cpu"]
    assert result.statuses[function.key].condition("Reconciling").status


def test_an_update_is_not_given_up_because_all_gpu_nodes_are_away_for_a_while() -> None:
    world = ClusterWorld([make_function(max_replicas=1)], [gpu("n", "0")])
    world.want("f", 1)
    world.until(lambda: world.warm("f") == 1)
    world.functions["default/f"] = make_function(revision=2, max_replicas=1)
    away, world.devices = world.devices, []
    world.plan()
    assert world.memory.functions["default/f"].failed is None
    world.devices = away
    world.until(lambda: world.warm("f", 2) == 1)
