"""What pods, Nodes and device lists say: the pure readers of the node agent on Kubernetes."""

from typing import Any

import msgspec
import pytest
from agent_under_test import function
from node_on_kubernetes import CPU, NodeWorld, ScriptedPod, card, option, replica_of

from stoker.model.container import ContainerSpec
from stoker.model.device import DeviceMode
from stoker.model.gpu_fault import FaultCode
from stoker.reasons import Reason
from stoker.wire.cluster import A_REPLICA, L_ROLE, ROLE_PREFETCH
from stoker_node.kubelet.pod_resources import Allocatable
from stoker_node.kubernetes.device_view import DeviceView, cpu_of
from stoker_node.kubernetes.images import canonical, present_images
from stoker_node.kubernetes.node_quantity import mebibytes, millicores
from stoker_node.kubernetes.objects import (
    Container,
    ImageVolume,
    Node,
    NodeImage,
    NodeStatus,
    Pod,
    PodSpec,
    PodStatus,
    Volume,
    VolumeMount,
)
from stoker_node.kubernetes.replica_pod import NotAReplica, ReplicaPod, read_pod
from stoker_runtime.kube.objects import ObjectMeta, OwnerReference

pytestmark = pytest.mark.unit

OWNER = function()


def pod(**more: Any) -> ScriptedPod:
    return ScriptedPod(NodeWorld.__new__(NodeWorld), replica_of(OWNER, **more), server=None, gated=False)


def read(scripted: ScriptedPod) -> ReplicaPod | NotAReplica:
    return read_pod(scripted.pod, {OWNER.key: OWNER.uid})


def test_a_pod_that_its_function_owns_is_a_replica() -> None:
    facts = read(pod().runs())
    assert isinstance(facts, ReplicaPod)
    assert (facts.ip, facts.ended, facts.gated, facts.let_in) == ("127.0.0.1", None, False, False)


def owned_by(**owner: Any) -> tuple[OwnerReference, ...]:
    given: dict[str, Any] = {
        "api_version": "stoker.dev/v1alpha1",
        "kind": "GpuFunction",
        "name": "f",
        "uid": "f",
        "controller": True,
    }
    return (OwnerReference(**(given | owner)),)


def annotated(**changes: Any) -> dict[str, str]:
    replica = msgspec.structs.replace(replica_of(OWNER), **changes)
    return {A_REPLICA: msgspec.json.encode(replica).decode()}


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ({"annotations": None}, "has no annotation"),
        ({"annotations": {A_REPLICA: "{"}}, "cannot be read"),
        ({"annotations": annotated(id="nonsense")}, "cannot be read"),
        ({"annotations": annotated(function="ns/other")}, "is no replica"),
        ({"namespace": "elsewhere"}, "is no replica"),
        ({"name": "stolen"}, "is called f-0123456789-0"),
        ({"annotations": annotated(port=0)}, "amounts that cannot be"),
        ({"annotations": annotated(options=(option(count=1), option(count=2)))}, "numbers that cannot be"),
        ({"annotations": annotated(function_uid="older")}, "does not own it"),
        ({"owner_references": None}, "does not own it"),
        ({"owner_references": owned_by(uid="older")}, "does not own it"),
        ({"owner_references": owned_by(kind="ReplicaSet")}, "does not own it"),
        ({"owner_references": owned_by(api_version="evil.dev/v1")}, "does not own it"),
        ({"owner_references": owned_by(controller=False)}, "does not own it"),
        ({"owner_references": owned_by(name="g")}, "does not own it"),
    ],
)
def test_a_pod_that_only_says_so_is_none(meta: dict[str, Any], says: str) -> None:
    facts = read(pod().meta(**meta))
    assert isinstance(facts, NotAReplica)
    assert says in facts.why


def test_a_pod_of_a_function_that_is_not_known_is_none_yet() -> None:
    facts = read_pod(pod().pod, {})
    assert isinstance(facts, NotAReplica)
    assert "there is no function ns/f" in facts.why


@pytest.mark.parametrize(
    ("happened", "ended"),
    [
        (pod().runs(), None),
        (pod().runs().container_ended(), Reason.REPLICA_FAILED),
        (pod().runs().container_ended(reason="OOMKilled"), Reason.MEMORY_EXCEEDED),
        (pod().failed(), Reason.REPLICA_FAILED),
        (pod().failed("OOMKilled"), Reason.MEMORY_EXCEEDED),
        (pod().status(phase="Failed", reason="Evicted"), Reason.REPLICA_FAILED),
        (pod().status(phase="Succeeded"), Reason.REPLICA_FAILED),
    ],
    ids=["it runs", "it ended", "out of memory", "failed", "failed for memory", "evicted", "it succeeded"],
)
def test_a_pod_has_ended_as_soon_as_its_container_has(happened: ScriptedPod, ended: Reason | None) -> None:
    facts = read(happened)
    assert isinstance(facts, ReplicaPod)
    assert facts.ended is ended


def test_a_container_beside_ours_that_ended_ends_nothing() -> None:
    running, beside = pod().runs(), pod().runs().container_ended()
    main, other = running.pod.status.container_statuses, beside.pod.status.container_statuses
    assert main is not None
    assert other is not None
    facts = read(running.status(container_statuses=(*main, msgspec.structs.replace(other[0], name="proxy"))))
    assert isinstance(facts, ReplicaPod)
    assert facts.ended is None


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("24518340Ki", 23943),
        ("25106780160", 23943),
        ("16Gi", 16384),
        ("1e9", 953),
        ("1E", 953674316406),
        ("1500M", 1430),
    ],
)
def test_memory_of_a_node_is_read_in_every_form(text: str, mib: int) -> None:
    assert mebibytes(text) == mib


@pytest.mark.parametrize(("text", "millis"), [("15990m", 15990), ("4", 4000), ("0.5", 500), ("1k", 1_000_000)])
def test_cores_of_a_node_are_read_in_every_form(text: str, millis: int) -> None:
    assert millicores(text) == millis


@pytest.mark.parametrize("text", ["", "four", "-1", "1 Gi", "1KiB", "٣"])
def test_what_is_no_quantity_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        mebibytes(text)


def node(**allocatable: str) -> Node:
    return Node(metadata=ObjectMeta(name="n"), status=NodeStatus(allocatable=allocatable))


def test_the_cpu_device_is_the_nodes_allocatable_less_the_platforms_share() -> None:
    device = cpu_of(node(cpu="3920m", memory="7935Mi"))
    assert (device.id, device.millicores, device.memory_mib) == ("cpu", 3430, 7935)
    assert cpu_of(node(cpu="many", memory="7935Mi"), device) == device
    assert cpu_of(node()).millicores == 0


def view(*cards: str) -> DeviceView:
    return DeviceView([card(one) for one in cards], CPU, plugin_grace_us=1000)


def test_shares_and_mode_are_what_the_plugin_shows() -> None:
    devices = view("GPU-a", "GPU-b")
    ids = tuple(f"{one}::{n}" for one in ("GPU-a", "GPU-b") for n in range(3))
    devices.set_allocatable([Allocatable("nvidia.com/gpu", ids)], {}, 0)
    assert [(one.mode, one.shares) for one in devices.devices()[:2]] == [(DeviceMode.TIME_SLICED, 3)] * 2
    devices.set_allocatable([Allocatable("nvidia.com/gpu", ids)], {"nvidia.com/gpu.sharing-strategy": "mps"}, 0)
    assert devices.devices()[0].mode is DeviceMode.MPS
    devices.set_allocatable([Allocatable("nvidia.com/gpu", ("GPU-a", "GPU-b"))], {}, 0)
    assert [(one.mode, one.shares, one.healthy) for one in devices.devices()[:2]] == [(DeviceMode.WHOLE, 1, True)] * 2


def test_a_card_is_offered_by_the_plugin_or_it_is_not_healthy() -> None:
    devices = view("GPU-a", "GPU-b")
    assert [one.fault for one in devices.devices()[:2]] == [FaultCode.NOT_OFFERED] * 2
    offer = [Allocatable("nvidia.com/gpu", ("GPU-a::0", "GPU-a::1"))]
    devices.set_allocatable(offer, {}, 0)
    first, second, cpu = devices.devices()
    assert (first.healthy, second.healthy, cpu.healthy) == (True, False, True)
    assert devices.condemned("GPU-a") == ""
    # One that was never offered may be of another resource of a plugin that is still beginning.
    assert devices.condemned("GPU-b") == ""
    devices.set_allocatable(offer, {}, 1000)
    assert "does not offer it" in devices.condemned("GPU-b")


def test_a_card_that_was_withdrawn_keeps_its_shares() -> None:
    devices = view("GPU-a", "GPU-b")
    devices.set_allocatable([Allocatable("g", ("GPU-a::0", "GPU-a::1", "GPU-b::0", "GPU-b::1"))], {}, 0)
    devices.set_allocatable([Allocatable("g", ("GPU-b::0", "GPU-b::1"))], {}, 0)
    assert (devices.devices()[0].shares, devices.devices()[0].healthy) == (2, False)


def test_a_plugin_that_offers_nothing_is_given_a_moment_and_blames_nobody_after_it() -> None:
    devices = view("GPU-a")
    devices.set_allocatable([Allocatable("g", ("GPU-a",))], {}, 0)
    devices.set_allocatable([], {}, 10)
    assert devices.devices()[0].healthy
    devices.set_allocatable([], {}, 1010)
    assert not devices.devices()[0].healthy
    assert devices.condemned("GPU-a") == ""
    devices.set_allocatable([Allocatable("g", ("GPU-a",))], {}, 1020)
    assert devices.devices()[0].healthy


def test_a_plugin_that_is_away_with_one_of_its_resources_blames_no_card_of_it() -> None:
    # MIG by the strategy `mixed`: one resource for each profile, and a plugin that registers them one by one.
    devices = view("MIG-a", "MIG-b", "MIG-c")
    small = Allocatable("nvidia.com/mig-1g.5gb", ("MIG-a",))
    large = Allocatable("nvidia.com/mig-3g.20gb", ("MIG-b", "MIG-c"))
    devices.set_allocatable([small, large], {}, 0)
    assert [one.mode for one in devices.devices()[:3]] == [DeviceMode.WHOLE] * 3
    devices.set_allocatable([small], {}, 10)
    assert all(one.healthy for one in devices.devices())
    devices.set_allocatable([small], {}, 1010)
    assert [one.healthy for one in devices.devices()[:3]] == [True, False, False]
    assert [devices.condemned(one) for one in ("MIG-a", "MIG-b", "MIG-c")] == [""] * 3
    assert all(one.healthy for one in devices.held().values())
    devices.set_allocatable([small, Allocatable("nvidia.com/mig-3g.20gb", ("MIG-b",))], {}, 1020)
    assert [one.healthy for one in devices.devices()[:3]] == [True, True, False]
    assert "does not offer it" in devices.condemned("MIG-c")


def test_what_the_driver_says_is_worse_than_what_the_plugin_says() -> None:
    devices = view("GPU-a")
    devices.set_gpus([msgspec.structs.replace(card("GPU-a"), healthy=False, reason="lost", fault=FaultCode.LOST)])
    assert devices.devices()[0].fault is FaultCode.LOST
    assert "lost" in devices.condemned("GPU-a")


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("redis", "docker.io/library/redis:latest"),
        ("me/app:1", "docker.io/me/app:1"),
        ("localhost/fn", "localhost/fn:latest"),
        ("ghcr.io/a/b:2", "ghcr.io/a/b:2"),
        ("registry:5000/a", "registry:5000/a:latest"),
        ("a@sha256:00", "docker.io/library/a@sha256:00"),
    ],
)
def test_an_image_reference_is_compared_by_its_full_name(short: str, full: str) -> None:
    assert canonical(short) == full


def prefetch(image: str, *, mounted: bool = True, phase: str = "Running") -> Pod:
    mounts = (VolumeMount(name="image"),) if mounted else ()
    return Pod(
        metadata=ObjectMeta(name=f"p-{image}", labels={L_ROLE: ROLE_PREFETCH}),
        spec=PodSpec(
            containers=(Container(name="pause", image="pause:1", volume_mounts=mounts),),
            volumes=(Volume(name="image", image=ImageVolume(reference=image)),),
        ),
        status=PodStatus(phase=phase),
    )


def test_images_of_functions_are_here_by_the_kubelet_by_running_pods_and_by_prefetch() -> None:
    functions = {
        name: function(name, container=ContainerSpec(image=name))
        for name in ("listed", "running", "fetched", "unmounted", "pending", "absent")
    }
    here = Node(
        metadata=ObjectMeta(name="n"),
        status=NodeStatus(images=(NodeImage(names=("docker.io/library/listed:latest", "other")), NodeImage())),
    )
    running = pod().runs().pod
    running = msgspec.structs.replace(
        running,
        spec=PodSpec(containers=(Container(name="function", image="running"), Container(name="x", image="absent"))),
    )
    pods = [running, prefetch("fetched"), prefetch("unmounted", mounted=False), prefetch("pending", phase="Pending")]
    found = present_images(functions, here, pods)
    assert [(one.reference, one.promised) for one in found] == [
        ("fetched", True),
        ("listed", False),
        ("running", False),
    ]
