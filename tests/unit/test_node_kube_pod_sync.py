"""From pods, kubelet and devices to replicas: every order of news, and every device that is not the right one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from agent_under_test import clock_us
from node_on_kubernetes import CPU, NodeWorld, card, option

from stoker.model.device import DeviceMode
from stoker.model.function import Sharing, Variant
from stoker.model.gpu_fault import FaultCode
from stoker.model.replica import ReplicaState
from stoker_node.kubernetes.device_view import DeviceView

pytestmark = pytest.mark.unit

Start = Callable[..., Awaitable[NodeWorld]]
SHARED = (option(8192, sharing=Sharing.SHARED),)


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    worlds: list[NodeWorld] = []

    async def make(*cards: Any, **options: Any) -> NodeWorld:
        worlds.append(await NodeWorld(*cards, **options).start())
        return worlds[-1]

    yield make
    for world in worlds:
        await world.close()


async def test_a_pod_becomes_warm_once_it_has_its_device_and_its_address(start: Start) -> None:
    world = await start()
    pod = await world.pod(world.apply())
    world.step()
    assert (pod.report().state, pod.report().devices) == (ReplicaState.STARTING, ())
    assert world.sync.waits_for_devices()
    pod.devices("GPU-a")
    world.step()
    assert pod.report().devices == ("GPU-a",)
    assert world.agent.reservations()[0].device_id == "GPU-a"
    assert not world.sync.waits_for_devices()
    pod.gets_ip()
    world.step()
    await world.until(lambda: pod.state is ReplicaState.WARM)
    assert pod.report().ready_ms is not None
    assert world.agent.prediction().start_us(world.functions["ns/f"], Variant.GPU).samples == 1


async def test_an_address_that_comes_before_the_devices_attaches_nothing(start: Start) -> None:
    world = await start()
    pod = (await world.pod(world.apply())).runs()
    world.step()
    assert world.agent.replicas() == ()
    pod.devices("GPU-a")
    world.step()
    await world.until(lambda: pod.state is ReplicaState.WARM)


async def test_a_pod_of_a_cpu_variant_holds_cores_without_asking_the_kubelet(start: Start) -> None:
    world = await start()
    owner = world.apply(cpu_variant=True)
    pod = (await world.pod(owner, variant=Variant.CPU, millicores=1500, memory_mib=512)).gets_ip()
    world.sync.sync()
    assert not world.sync.waits_for_devices()
    await world.until(lambda: pod.state is ReplicaState.WARM)
    part = world.agent.reservations()[0]
    assert (part.device_id, part.millicores, part.memory_mib) == ("cpu", 1500, 512)


async def test_a_cpu_pod_that_the_kubelet_admitted_beyond_the_platforms_share_is_served_all_the_same(
    start: Start,
) -> None:
    world = await start()
    owner = world.apply(cpu_variant=True)
    pod = (await world.pod(owner, variant=Variant.CPU, millicores=64000)).gets_ip()
    world.sync.sync()
    await world.until(lambda: pod.state is ReplicaState.WARM)


async def test_the_init_container_is_granted_only_after_the_reservation(start: Start) -> None:
    world = await start(mode=DeviceMode.TIME_SLICED, shares=4)
    pod = await world.pod(world.apply(), gated=True, options=SHARED)
    world.step()
    assert not world.grants.granted(pod.uid)
    pod.devices("GPU-a::3")
    world.step()
    assert world.grants.granted(pod.uid)
    assert [part.memory_mib for part in world.agent.reservations()] == [8192]


@pytest.mark.parametrize(
    ("options", "world_options", "cards", "says"),
    [
        ((option(50000),), {}, ("GPU-a",), "has 40960 MiB and not the 50000 MiB"),
        ((option(products=("H100-80GB",)),), {}, ("GPU-a",), "is not a H100-80GB"),
        ((option(),), {}, ("GPU-bad",), "is unhealthy: it is hot"),
        ((option(count=2),), {}, ("GPU-a",), "gave it 1 cards and not 2"),
        ((option(),), {}, ("GPU-x",), "GPU-x, which the driver of this node does not list"),
        ((option(),), {"mode": DeviceMode.TIME_SLICED, "shares": 4}, ("GPU-a::0",), "wants a card alone"),
        (
            (option(20000, sharing=Sharing.SHARED),),
            {"mode": DeviceMode.MPS, "shares": 4},
            ("GPU-a::0",),
            "gives each of its 4 pods 10240 MiB",
        ),
    ],
)
async def test_a_device_that_does_not_fit_is_reported_held_and_never_used(
    start: Start, options: Any, world_options: dict[str, Any], cards: tuple[str, ...], says: str
) -> None:
    world = await start(card(), card("GPU-bad", healthy=False), **world_options)
    pod = (await world.pod(world.apply(), gated=True, options=options)).devices(*cards).runs()
    world.step()
    assert says in pod.report().unfit
    assert pod.report().devices
    assert not world.grants.granted(pod.uid)
    assert world.agent.replicas() == ()
    held = {part.device_id for part in world.agent.reservations()}
    assert held == {one.partition("::")[0] for one in cards} - {"GPU-x"}


async def test_the_second_option_counts_where_the_first_does_not_fit(start: Start) -> None:
    world = await start()
    options = (option(products=("H100-80GB",)), option(2048))
    pod = (await world.pod(world.apply(), options=options)).devices("GPU-a").gets_ip()
    world.step()
    assert pod.report().unfit == ""
    assert world.agent.reservations()[0].memory_mib == 2048


async def test_what_is_over_the_memory_of_a_shared_card_waits_unfit_and_is_granted_when_there_is_room(
    start: Start,
) -> None:
    world = await start(mode=DeviceMode.TIME_SLICED, shares=4)
    owner = world.apply()
    big = (option(30000, sharing=Sharing.SHARED),)
    first = (await world.pod(owner, gated=True, options=big)).devices("GPU-a::0")
    world.step()
    second = (await world.pod(owner, gated=True, options=big, ordinal=1)).devices("GPU-a::1")
    world.step()
    assert world.grants.granted(first.uid)
    assert "30000 MiB are promised to others" in second.report().unfit
    assert not world.grants.granted(second.uid)
    first.gone()
    world.step()
    assert second.report().unfit == ""
    assert world.grants.granted(second.uid)
    assert not world.grants.granted(first.uid)


async def test_who_came_later_and_got_nothing_does_not_keep_who_came_first_from_its_card(start: Start) -> None:
    world = await start(mode=DeviceMode.TIME_SLICED, shares=4)
    owner = world.apply()
    sized = [(option(mib, sharing=Sharing.SHARED),) for mib in (30000, 20000, 25000)]
    holder, waits, later = [
        (await world.pod(owner, gated=True, options=options, ordinal=n)).devices(f"GPU-a::{n}")
        for n, options in enumerate(sized)
    ]
    world.step()
    assert (holder.report().unfit, bool(waits.report().unfit), bool(later.report().unfit)) == ("", True, True)
    holder.gone()
    world.step()
    assert world.grants.granted(waits.uid)
    assert later.report().unfit


async def test_another_tenant_on_a_shared_card_needs_the_policy_of_both(start: Start) -> None:
    world = await start(mode=DeviceMode.TIME_SLICED, shares=4)
    mine, theirs = world.apply("a", namespace="ours"), world.apply("b", namespace="theirs")
    first = (await world.pod(mine, gated=True, options=SHARED)).devices("GPU-a::0")
    world.step()
    second = (await world.pod(theirs, gated=True, options=SHARED)).devices("GPU-a::1")
    world.step()
    assert first.report().unfit == ""
    assert "another namespace (ours)" in second.report().unfit
    world.cross_tenant = {"theirs"}
    world.step()
    assert second.report().unfit
    world.cross_tenant = {"ours", "theirs"}
    world.step()
    assert second.report().unfit == ""
    assert world.grants.granted(second.uid)


async def test_a_card_whose_last_holder_is_about_to_go_makes_nobody_unfit(start: Start) -> None:
    # The kubelet gives the card on when the process has ended, and the API server hears of that later.
    world = await start()
    owner = world.apply()
    old = (await world.pod(owner)).devices("GPU-a").gets_ip()
    world.step()
    old.deleted()
    new = (await world.pod(owner, ordinal=1)).devices("GPU-a").gets_ip()
    world.step()
    assert (new.report().unfit, new.state) == ("", ReplicaState.STARTING)
    assert world.sync.waits_for_devices()
    old.gone()
    world.step()
    await world.until(lambda: new.state is ReplicaState.WARM)


async def test_a_deletion_drains_at_once_and_the_end_detaches(start: Start) -> None:
    world = await start()
    pod = (await world.pod(world.apply())).devices("GPU-a").runs()
    world.step()
    await world.until(lambda: pod.state is ReplicaState.WARM)
    pod.deleted()
    world.sync.sync()
    await world.until(lambda: pod.state is ReplicaState.DRAINING)
    pod.gone()
    world.sync.sync()
    assert world.sync.reports() == ()
    assert world.agent.replicas() == ()
    assert world.agent.reservations() == ()


@pytest.mark.parametrize(("end", "reason"), [("Error", "ReplicaFailed"), ("OOMKilled", "MemoryExceeded")])
async def test_a_pod_whose_container_ended_gives_its_device_back_and_counts_as_one_failure(
    start: Start, end: str, reason: str
) -> None:
    world = await start()
    pod = (await world.pod(world.apply())).devices("GPU-a").runs()
    world.step()
    await world.until(lambda: pod.state is ReplicaState.WARM)
    pod.container_ended(reason=end)  # the kubelet says so first, and the phase a moment later
    world.step()
    assert world.sync.reports() == ()
    assert world.agent.reservations() == ()
    pod.failed(end)
    world.step()
    failures = [line for line in world.sink.text().decode().splitlines() if "failures_total{" in line]
    assert failures == [
        f'stoker_replica_failures_total{{function="f",namespace="ns",reason="{reason}",variant="gpu"}} 1.0'
    ]


async def test_a_container_that_ends_because_its_pod_was_deleted_is_no_failure(start: Start) -> None:
    world = await start()
    pod = (await world.pod(world.apply())).devices("GPU-a").runs()
    world.step()
    await world.until(lambda: pod.state is ReplicaState.WARM)
    pod.deleted()
    world.step()
    pod.container_ended()
    world.step()
    assert world.agent.reservations() == ()
    assert "failures_total{" not in world.sink.text().decode()


async def test_a_new_pod_of_the_same_name_is_believed_only_once_the_kubelet_acknowledged_it(start: Start) -> None:
    world = await start(card(), card("GPU-b"))
    owner = world.apply()
    old = (await world.pod(owner)).devices("GPU-a").runs()
    world.step()
    await world.until(lambda: old.state is ReplicaState.WARM)
    world.pods.remove(old)
    new = await world.pod(owner)
    world.step(lists=3)  # the kubelet still lists the old one under the name
    assert (new.report().devices, new.state) == ((), ReplicaState.STARTING)
    assert world.sync.waits_for_devices()
    new.acknowledged().devices("GPU-a", "GPU-b")  # both of them, for a moment
    world.step()
    assert new.report().devices == ()
    new.devices("GPU-b").gets_ip()
    world.step()
    assert new.report().devices == ("GPU-b",)
    await world.until(lambda: new.state is ReplicaState.WARM)
    assert {part.device_id for part in world.agent.reservations()} == {"GPU-b"}


async def test_a_list_that_was_under_way_when_the_old_pod_went_is_not_believed(start: Start) -> None:
    world = await start()
    owner = world.apply()
    old = (await world.pod(owner)).devices("GPU-a").runs()
    world.step()
    world.pods.remove(old)
    new = (await world.pod(owner)).gets_ip()
    world.sync.sync()
    world.step()
    assert new.report().devices == ()
    world.step()
    assert new.report().devices == ("GPU-a",)


async def test_a_new_address_of_the_same_pod_is_attached_anew(start: Start) -> None:
    world = await start()
    pod = (await world.pod(world.apply())).devices("GPU-a").runs()
    world.step()
    await world.until(lambda: pod.state is ReplicaState.WARM)
    pod.status(pod_ip="127.0.0.2")  # its sandbox was made anew; nothing listens there yet
    world.sync.sync()
    assert pod.state is ReplicaState.STARTING


async def test_a_restarted_agent_takes_over_what_runs_and_grants_nothing_new_for_a_while(start: Start) -> None:
    world = await start(mode=DeviceMode.TIME_SLICED, shares=4, quiet_us=200_000)
    owner = world.apply()
    running = (await world.pod(owner, gated=True, options=SHARED)).devices("GPU-a::0").runs()
    waiting = (await world.pod(owner, gated=True, options=SHARED, ordinal=1)).devices("GPU-a::1").acknowledged()
    world.step()
    assert [part.replica_id for part in world.agent.reservations()] == [running.replica.id]
    assert not world.grants.granted(waiting.uid)
    await world.until(lambda: running.state is ReplicaState.WARM)
    # How long it took to start is not what this agent saw.
    assert world.agent.prediction().start_us(owner, Variant.GPU).samples == 0
    await world.until(lambda: clock_us() >= world.sync._quiet_until_us)
    world.step()
    assert world.grants.granted(waiting.uid)
    assert waiting.report().unfit == ""


BIG = (option(30000, sharing=Sharing.SHARED),)


async def test_what_a_predecessor_granted_is_kept_for_it_while_its_image_is_still_pulled(start: Start) -> None:
    world = await start(mode=DeviceMode.TIME_SLICED, shares=4, quiet_us=50_000)
    owner = world.apply()
    waiting = (await world.pod(owner, gated=True, options=BIG)).devices("GPU-a::0").acknowledged()
    granted = (await world.pod(owner, gated=True, options=BIG, ordinal=1)).devices("GPU-a::1").passed()
    world.step()
    assert [one.spec.id for one in world.agent.replicas()] == [granted.replica.id]
    await world.until(lambda: clock_us() >= world.sync._quiet_until_us)
    world.step()
    assert "30000 MiB are promised to others" in waiting.report().unfit
    assert not world.grants.granted(waiting.uid)
    granted.runs()
    world.step()
    await world.until(lambda: granted.state is ReplicaState.WARM)


async def test_who_was_granted_before_comes_before_who_was_listed_before(start: Start) -> None:
    world = await start(mode=DeviceMode.TIME_SLICED, shares=4)
    owner = world.apply()
    waiting = (await world.pod(owner, gated=True, options=BIG)).devices("GPU-a::0").acknowledged()
    granted = (await world.pod(owner, gated=True, options=BIG, ordinal=1)).devices("GPU-a::1").passed()
    world.step()
    assert granted.report().unfit == ""
    assert waiting.report().unfit
    assert [world.grants.granted(one.uid) for one in (waiting, granted)] == [False, True]


async def test_who_waits_unfit_is_not_in_the_way_of_who_was_granted_and_is_seen_to_be_later(start: Start) -> None:
    world = await start(mode=DeviceMode.TIME_SLICED, shares=4, quiet_us=60_000_000)
    owner, other = world.apply(), world.apply("g", namespace="other")
    first = (await world.pod(owner, gated=True, options=SHARED)).devices("GPU-a::0").runs()
    foreign = (await world.pod(other, gated=True, options=BIG)).devices("GPU-a::1").acknowledged()
    granted = (await world.pod(owner, gated=True, options=BIG, ordinal=1)).devices("GPU-a::2").acknowledged()
    world.step()
    assert "another namespace" in foreign.report().unfit
    granted.passed()
    world.step()
    assert granted.report().unfit == ""
    assert {part.replica_id for part in world.agent.reservations() if part.memory_mib == 30000} >= {granted.replica.id}
    assert first.report().unfit == ""


@pytest.mark.parametrize("gate", [{"exit_code": 1}, {"gate": "somebody-elses"}])
async def test_a_gate_that_failed_or_is_not_ours_was_not_passed(start: Start, gate: dict[str, Any]) -> None:
    world = await start(mode=DeviceMode.TIME_SLICED, shares=4, quiet_us=60_000_000)
    pod = (await world.pod(world.apply(), gated=True, options=SHARED)).devices("GPU-a::0").passed(**gate)
    world.step()
    assert world.agent.reservations() == ()
    assert not world.grants.granted(pod.uid)


async def test_a_quarantined_device_marks_who_is_on_it_and_what_runs_goes_on(start: Start) -> None:
    world = await start(card(), card("GPU-b"))
    owner = world.apply()
    pod = (await world.pod(owner)).devices("GPU-a").runs()
    world.step()
    await world.until(lambda: pod.state is ReplicaState.WARM)
    sick = msgspec.structs.replace(card(), healthy=False, reason="XID 79", fault=FaultCode.XID)
    world.view.set_gpus((sick, card("GPU-b")))
    world.sync.sync()
    assert (pod.state, pod.report().unfit) == (ReplicaState.WARM, "A100-40GB/GPU-a is unhealthy: XID 79")
    late = (await world.pod(owner, ordinal=1)).devices("GPU-a").gets_ip()
    pod.gone()
    world.step()
    assert "XID 79" in late.report().unfit
    assert world.agent.replicas() == ()
    world.view.set_gpus((card(), card("GPU-b")))
    world.step()
    await world.until(lambda: late.state is ReplicaState.WARM)
    assert late.report().unfit == ""


async def test_a_card_that_the_plugin_withdrew_marks_its_pod_and_a_plugin_that_is_away_does_not(start: Start) -> None:
    world = await start(card(), card("GPU-b"))
    pod = (await world.pod(world.apply())).devices("GPU-a").runs()
    world.step()
    await world.until(lambda: pod.state is ReplicaState.WARM)
    world.offer()
    world.sync.sync()
    assert pod.report().unfit == ""
    assert all(device.healthy for device in world.view.devices())
    world.offer(now_us=60_000_000)
    world.sync.sync()
    assert pod.report().unfit == ""
    assert [device.healthy for device in world.view.devices()] == [False, False, True]
    world.offer("GPU-b")
    world.sync.sync()
    assert "the device plugin does not offer it" in pod.report().unfit


async def test_what_runs_is_taken_over_also_while_the_plugin_has_not_come_back(start: Start) -> None:
    world = await start()
    world.view = world.sync._view = DeviceView(world.cards, CPU, plugin_grace_us=0)
    pod = (await world.pod(world.apply())).devices("GPU-a").runs()
    world.step()
    assert not world.view.devices()[0].healthy
    await world.until(lambda: pod.state is ReplicaState.WARM)
    assert pod.report().unfit == ""


async def test_a_drain_is_acknowledged_at_once_where_nothing_is_in_flight(start: Start) -> None:
    world = await start()
    pod = (await world.pod(world.apply())).devices("GPU-a").runs()
    world.step()
    await world.until(lambda: pod.state is ReplicaState.WARM)
    assert await world.sync.drain(pod.uid, 5) == 0
    assert pod.state is ReplicaState.DRAINING
    assert await world.sync.drain(pod.uid, 5) == 0
    assert await world.sync.drain("nobody", 5) is None


async def test_a_pod_that_is_drained_before_it_has_a_device_never_gets_one(start: Start) -> None:
    world = await start(mode=DeviceMode.TIME_SLICED, shares=4)
    pod = await world.pod(world.apply(), gated=True, options=SHARED)
    world.step()
    assert await world.sync.drain(pod.uid, 5) == 0
    pod.devices("GPU-a::0").gets_ip()
    world.step()
    assert not world.grants.granted(pod.uid)
    assert world.agent.replicas() == ()
    assert pod.state is ReplicaState.DRAINING


async def test_a_function_that_is_deleted_leaves_its_replicas_until_the_pods_go(start: Start) -> None:
    world = await start()
    owner = world.apply()
    pod = (await world.pod(owner)).devices("GPU-a").runs()
    world.step()
    await world.until(lambda: pod.state is ReplicaState.WARM)
    del world.functions[owner.key]
    world.agent.set_functions(world.functions)
    world.step()
    assert pod.state is ReplicaState.WARM


async def test_pods_of_a_function_that_was_made_anew_serve_no_more(start: Start) -> None:
    world = await start()
    owner = world.apply()
    pod = (await world.pod(owner)).devices("GPU-a").runs()
    world.step()
    await world.until(lambda: pod.state is ReplicaState.WARM)
    world.functions[owner.key] = msgspec.structs.replace(owner, uid="another")
    world.step()
    await world.until(lambda: pod.state is ReplicaState.DRAINING)


async def test_who_used_too_much_memory_stays_accused_until_it_is_gone(start: Start) -> None:
    world = await start(mode=DeviceMode.TIME_SLICED, shares=4)
    pod = (await world.pod(world.apply(), gated=True, options=SHARED)).devices("GPU-a::0").runs()
    world.step()
    world.sync.accuse(pod.uid, "it used 9000 MiB of 8192 MiB promised")
    assert pod.report().unfit == "it used 9000 MiB of 8192 MiB promised"
    world.sync.accuse("nobody", "never mind")
    world.step()
    assert pod.report().unfit


async def test_an_agent_that_stops_takes_nothing_new_and_still_lets_go(start: Start) -> None:
    world = await start()
    owner = world.apply()
    old = (await world.pod(owner)).devices("GPU-a").runs()
    world.step()
    world.sync.retire()
    new = (await world.pod(owner, ordinal=1)).devices("GPU-a").runs()
    old.gone()
    world.step()
    assert world.agent.replicas() == ()
    assert new.report().devices == ()


async def test_nothing_is_told_while_nothing_changes(start: Start) -> None:
    world = await start()
    (await world.pod(world.apply())).devices("GPU-a").gets_ip()
    world.step()
    before = world.changes
    world.step(lists=5)
    assert world.changes == before
