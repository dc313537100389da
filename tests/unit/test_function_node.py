"""The ledger of a node: what is written, when it is worth a write, and what a reader makes of it."""

from typing import Any

import pytest
from msgspec.structs import replace

from stoker.errors import InvalidObject
from stoker.model.device import Device, DeviceKind, DeviceMode
from stoker.model.function import Variant
from stoker.model.gpu_fault import FaultCode
from stoker.model.replica import ReplicaState
from stoker.wire.function_node import (
    FLIP_INTERVAL_US,
    QUANTUM_MIB,
    WRITE_INTERVAL_US,
    AgentStatus,
    DeviceStatus,
    FunctionNodeStatus,
    ImageStatus,
    NodeCondition,
    ResidentStatus,
    decode_status,
    device_status,
    devices_of,
    encode_status,
    function_node,
    needs_write,
    quantise,
)

pytestmark = pytest.mark.unit

AGENT = AgentStatus(pod="stoker-node-x", address="10.0.0.7", version="1")


def gpu(name: str = "GPU-1", *, used: int = 0, healthy: bool = True, message: str = "") -> DeviceStatus:
    return DeviceStatus(
        id=name,
        kind=DeviceKind.GPU,
        product="T4",
        memory_mib=16384,
        used_memory_mib=used,
        healthy=healthy,
        message=message,
    )


def resident(uid: str = "u1", state: ReplicaState = ReplicaState.WARM, *devices: str, mib: int = 0) -> ResidentStatus:
    return ResidentStatus(
        namespace="n",
        pod=f"f-{uid}",
        pod_uid=uid,
        function="f",
        revision="0123456789",
        variant=Variant.GPU,
        devices=devices,
        state=state,
        memory_mib=mib,
    )


def status(*devices: DeviceStatus, residents: tuple[ResidentStatus, ...] = (), **more: Any) -> FunctionNodeStatus:
    return FunctionNodeStatus(agent=AGENT, devices=devices or (gpu(),), residents=residents, **more)


READY = NodeCondition(
    type="Ready", status="True", reason="Ready", message="It serves.", last_transition_time="2026-01-01T00:00:00Z"
)


def test_what_was_written_is_read_back() -> None:
    whole = status(
        gpu(used=512, healthy=False, message="lost"),
        residents=(resident("u1", ReplicaState.STARTING, "GPU-1", mib=4096),),
        images=(ImageStatus(reference="i:1", promised=True),),
        conditions=(READY,),
        observed_generation=3,
    )
    document = encode_status("node-a", whole)
    assert document["metadata"] == {"name": "node-a"}
    assert decode_status(document) == whole


def test_a_newer_agent_may_write_more() -> None:
    document = encode_status("node-a", status())
    document["status"]["artifacts"] = [{"digest": "x"}]
    document["status"]["devices"][0]["colour"] = "green"
    assert decode_status(document) == status()


@pytest.mark.parametrize("document", [{}, {"status": None}, {"status": {}}, {"status": {"counts": {"gpus": 0}}}])
def test_a_node_whose_agent_has_not_spoken_has_no_status(document: dict[str, Any]) -> None:
    assert decode_status(document) is None


def test_garbage_is_named_with_its_path() -> None:
    document = encode_status("node-a", status())
    document["status"]["devices"][0]["memoryMib"] = "much"
    with pytest.raises(InvalidObject, match=r"status\.devices\[0\]\.memoryMib"):
        decode_status(document)
    with pytest.raises(InvalidObject, match="status"):
        decode_status({"status": 7})


def test_the_counts_are_those_of_devices_and_residents() -> None:
    cpu = DeviceStatus(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=1, healthy=True)
    whole = status(
        gpu("a"),
        gpu("b"),
        gpu("c", healthy=False),
        cpu,
        residents=(
            resident("1", ReplicaState.WARM, "a"),
            resident("2", ReplicaState.DRAINING, "a"),
            resident("3", ReplicaState.WARM, "cpu"),
        ),
    )
    assert encode_status("n", whole)["status"]["counts"] == {"gpus": 3, "healthy": 2, "free": 1, "warm": 2}


def test_a_probed_device_comes_back_with_its_node() -> None:
    device = Device(
        id="GPU-1",
        kind=DeviceKind.GPU,
        product="T4",
        memory_mib=16384,
        slots=2,
        shares=4,
        mode=DeviceMode.MPS,
        healthy=False,
        reason="XID 79",
        fault=FaultCode.XID,
        simulated=True,
    )
    (back,) = devices_of("node-a", status(device_status(device, reason="XidError")))
    assert back == replace(device, id="node-a/GPU-1", node="node-a")
    assert device_status(replace(device, healthy=True), reason="XidError").reason == ""


@pytest.mark.parametrize(
    ("word", "fault"),
    [("NotOffered", FaultCode.NOT_OFFERED), ("", None), ("OfANewerAgent", FaultCode.DRIVER_ERROR)],
)
def test_the_word_for_what_a_device_has_is_a_fault_again(word: str, fault: FaultCode | None) -> None:
    sick = replace(gpu(healthy=False, message="text"), reason=word)
    well = replace(sick, healthy=True)
    assert [device.fault for device in devices_of("n", status(sick, well))] == [fault, None]


def test_the_object_goes_with_its_very_node() -> None:
    (owner,) = function_node("node-a", "u-1")["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "Node", "name": "node-a", "uid": "u-1"}


def test_quantised_is_rounded_up_and_in_one_order() -> None:
    mixed = status(gpu("b", used=1), gpu("a", used=QUANTUM_MIB), residents=(resident("2"), resident("1")))
    done = quantise(mixed)
    assert [(device.id, device.used_memory_mib) for device in done.devices] == [("a", QUANTUM_MIB), ("b", QUANTUM_MIB)]
    assert [one.pod_uid for one in done.residents] == ["1", "2"]
    assert quantise(done) == done


def needed(before: FunctionNodeStatus, after: FunctionNodeStatus, since_us: int) -> bool:
    return needs_write(quantise(before), quantise(after), 1_000, 1_000 + since_us)


def test_the_first_status_is_written_at_once() -> None:
    assert needs_write(None, status(), None, 0)
    assert needs_write(status(), status(), None, 0)


FLIPS = [
    status(gpu(healthy=False)),
    status(gpu(), gpu("GPU-2")),
    status(residents=(resident("u1", ReplicaState.DRAINING),)),
    status(residents=(resident("u1", ReplicaState.WARM, "GPU-1"),)),
    status(residents=(resident(), resident("u2"))),
    status(),
    status(residents=(resident(),), conditions=(READY,)),
    replace(status(residents=(resident(),)), agent=replace(AGENT, pod="stoker-node-y")),
]


@pytest.mark.parametrize("after", FLIPS)
def test_a_flip_is_written_at_once_and_flapping_is_no_storm(after: FunctionNodeStatus) -> None:
    before = status(residents=(resident(),))
    assert needed(before, after, FLIP_INTERVAL_US)
    assert not needed(before, after, FLIP_INTERVAL_US - 1)


SLOW = [
    status(gpu(used=2 * QUANTUM_MIB)),
    status(gpu(message="warm")),
    status(images=(ImageStatus(reference="i"),)),
    replace(status(), observed_generation=2),
]


@pytest.mark.parametrize("after", SLOW)
def test_what_can_wait_is_written_every_ten_seconds(after: FunctionNodeStatus) -> None:
    assert needed(status(), after, WRITE_INTERVAL_US)
    assert not needed(status(), after, WRITE_INTERVAL_US - 1)


def test_nothing_new_is_never_written() -> None:
    assert not needed(status(), status(), 10**12)
    assert not needed(status(gpu(used=QUANTUM_MIB)), status(gpu(used=QUANTUM_MIB + 1)), 10**12)
