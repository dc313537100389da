"""plan() against a model of the world under random functions, devices, demand and accidents.

The model itself fails on a device over capacity and on an id used twice (planning_world).
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planning_world import CPU, GPU, S, World, cores, gpus, make_function, revision_of
from settings_of_tests import examples

from stoker.control.planning import Drain, Kill, Start
from stoker.model.function import ContainerSpec, CpuVariant, Function, KeepAlivePolicy, Sharing
from stoker.model.replica import ReplicaState, ReplicaStatus
from stoker.policies.allocation.registry import ALLOCATION
from stoker.reasons import Reason

pytestmark = pytest.mark.property

FUNCTIONS = st.builds(
    lambda sharing, memory, least, extra, ttl, share, has_cpu: {
        "sharing": sharing,
        "memory_mib": memory,
        "min_replicas": least,
        "max_replicas": least + extra,
        "keep_alive_ttl_us": ttl * S,
        "fair_share": share,
        "cpu_variant": CpuVariant(container=ContainerSpec(cpu_millis=700)) if has_cpu else None,
    },
    st.sampled_from(Sharing),
    st.sampled_from([5_000, 15_000, 30_000]),
    st.integers(0, 1),
    st.integers(1, 2),
    st.sampled_from([0, 3, 60]),
    st.integers(1, 3),
    st.booleans(),
)
PARAMS = st.fixed_dictionaries(
    {"allocation": st.sampled_from(sorted(ALLOCATION)), "keep_alive": st.sampled_from(KeepAlivePolicy)}
)
EVENTS = st.tuples(
    st.sampled_from(["load", "load", "load", "cpu load", "wake", "crash", "revise", "bad revision", "delete", "sick"]),
    st.integers(0, 3),
    st.integers(0, 5),
    st.integers(1, 20),
)


def key_of(index: int) -> str:
    """Of a function by its place: two namespaces in turn."""
    return f"{'ab'[index % 2]}/f{index}"


def made(index: int, fields: dict[str, object], revision: int = 1) -> Function:
    namespace, _, name = key_of(index).partition("/")
    return make_function(name, namespace=namespace, revision=revision, **fields)  # type: ignore[arg-type]


def happen(world: World, bounds: list[dict[str, object]], event: str, which: int, number: int) -> None:
    index = which % len(bounds)
    name = key = key_of(index)
    if event in ("load", "cpu load"):
        world.want(name, number, CPU if event == "cpu load" else GPU)
    elif event == "wake":
        world.wake(name)
    elif event == "crash" and world.ids(name, ReplicaState.WARM):
        world.crash(world.ids(name, ReplicaState.WARM)[0])
    elif event in ("revise", "bad revision") and key in world.functions:
        revision = 10 * (1 + number) + index
        (world.crashes if event == "bad revision" else set()).add(revision_of(revision))
        world.functions[key] = made(index, bounds[index], revision)
    elif event == "delete":
        world.functions.pop(key, None)
    elif event == "sick":
        from msgspec.structs import replace

        position = which % len(world.devices)
        world.devices[position] = replace(world.devices[position], healthy=number > 1, reason="Xid 79")


@settings(max_examples=examples(24), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FUNCTIONS, min_size=1, max_size=4), st.integers(1, 3), PARAMS, st.lists(EVENTS, max_size=14))
def test_whatever_happens_the_plan_keeps_its_promises(
    bounds: list[dict[str, object]], device_count: int, params: dict[str, str], events: list[tuple[str, int, int, int]]
) -> None:
    functions = [made(index, fields) for index, fields in enumerate(bounds)]
    world = World(functions, [*gpus(device_count), cores()], **params)
    for event, which, number, steps in events:
        happen(world, bounds, event, which, number)
        for _ in range(steps):
            first = world.step(S)
            check(world, first.actions)
            assert world.plan().actions == (), "an unchanged world was planned to change"
            assert first.next_due_us > world.now_us


def check(world: World, actions: tuple[object, ...]) -> None:
    for action in actions:
        if isinstance(action, Drain) and action.reason in (Reason.GIVES_WAY, Reason.QUANTUM_OVER, Reason.IDLE):
            # The victim's status is still there: at most its state has changed.
            status = world.replicas[action.replica_id]
            victim = status.spec
            if action.reason is Reason.QUANTUM_OVER:
                assert status.ready_us is not None
                assert world.now_us - status.ready_us >= world.params.quantum_us, "its quantum was cut short"
            else:
                assert status.in_flight == 0, "a busy replica gave way"
            function = world.functions[victim.function]
            live = [
                r
                for r in world.replicas.values()
                if (r.spec.function, r.spec.variant) == (victim.function, victim.variant)
                and r.state is not ReplicaState.DRAINING
            ]
            assert len(live) >= function.min_replicas_of(victim.variant), "below minReplicas"
        if isinstance(action, Kill):
            assert action.reason in (Reason.START_TIMEOUT, Reason.REPLICA_HUNG, Reason.ROLLOUT_FAILED)
        if isinstance(action, Start):
            assert action.function.key in world.functions
    claimed = [device for claim in world.memory.claims for device in claim.devices]
    assert len(claimed) == len(set(claimed)), "two claims on one device"
    for key, function in world.functions.items():
        for variant in function.variants:
            live = [
                r
                for r in world.replicas.values()
                if (r.spec.function, r.spec.variant) == (key, variant) and r.state is not ReplicaState.DRAINING
            ]
            revisions = {r.spec.revision for r in live}
            # While revisions change, or a replica on a sick device is replaced, one more.
            assert len(live) <= function.max_replicas_of(variant) + (len(revisions) > 1 or on_sick_device(world, live))


def on_sick_device(world: World, replicas: list[ReplicaStatus]) -> bool:
    sick = {device.id for device in world.devices if not device.healthy}
    return any(not sick.isdisjoint(replica.spec.devices) for replica in replicas)


@settings(max_examples=examples(12), deadline=None)
@given(st.lists(FUNCTIONS, min_size=1, max_size=3), st.lists(EVENTS, max_size=8))
def test_when_all_demand_ends_the_world_comes_to_rest_at_its_minimum(
    bounds: list[dict[str, object]], events: list[tuple[str, int, int, int]]
) -> None:
    functions = [made(index, fields) for index, fields in enumerate(bounds)]
    world = World(functions, [*gpus(4, 81_920), cores()])
    for event, which, number, steps in events:
        if event not in ("sick", "bad revision"):
            happen(world, bounds, event, which, number)
            world.run(steps * S // 2, by_us=S // 2)
    for pair in list(world.load):
        world.load[pair] = 0
    world.run(180 * S, by_us=2 * S)
    for index, fields in enumerate(bounds):
        least = fields["min_replicas"] if key_of(index) in world.functions else 0
        assert world.warm(key_of(index)) == least
    assert world.plan().actions == ()
    assert world.memory.claims == ()
