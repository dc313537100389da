"""Which devices count as taken by pods whose real ones are not known yet."""

import pytest

from stoker.model.device import Device, DeviceKind, DeviceMode, Reservation
from stoker.model.function import GpuOption, Sharing, Variant
from stoker.wire.cluster import PodReplica
from stoker_operator.assumed_devices import Homeless, assume, reservations_of

pytestmark = pytest.mark.unit


def gpu(node: str, index: int = 0, memory_mib: int = 40_000, shares: int = 1) -> Device:
    return Device(
        id=f"{node}/GPU-{index}",
        kind=DeviceKind.GPU,
        product="A100",
        memory_mib=memory_mib,
        node=node,
        shares=shares,
        mode=DeviceMode.WHOLE if shares == 1 else DeviceMode.TIME_SLICED,
    )


def cores(node: str) -> Device:
    return Device(id=f"{node}/cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=8_000, millicores=4_000, node=node)


def replica(ordinal: int = 0, *options: GpuOption, **fields: object) -> PodReplica:
    return PodReplica(
        id=f"team/fn-0123456789-{ordinal}",
        function="team/fn",
        function_uid="f",
        variant=Variant.GPU if options else Variant.CPU,
        revision="0123456789",
        ordinal=ordinal,
        options=options,
        **fields,  # type: ignore[arg-type]
    )


ONE = GpuOption(memory_mib=10_000)


def test_what_plan_chose_counts_while_the_pod_has_no_node() -> None:
    each = Homeless(replica=replica(0, ONE), node="", planned=("b/GPU-0",))
    assert assume([each], [gpu("a"), gpu("b")], ()) == {each.replica.id: ("b/GPU-0",)}


def test_a_pod_on_another_node_than_planned_takes_a_device_there() -> None:
    each = Homeless(replica=replica(0, ONE), node="a", planned=("b/GPU-0",))
    assert assume([each], [gpu("a"), gpu("b")], ())[each.replica.id] == ("a/GPU-0",)


def test_two_pods_of_one_node_do_not_take_the_same_free_device() -> None:
    pods = [Homeless(replica=replica(i, ONE), node="a") for i in range(2)]
    found = assume(pods, [gpu("a", 0), gpu("a", 1)], ())
    assert sorted(found.values()) == [("a/GPU-0",), ("a/GPU-1",)]


def test_a_held_device_is_taken_last() -> None:
    held = Reservation(replica_id="x", device_id="a/GPU-0", memory_mib=1, sharing=Sharing.EXCLUSIVE)
    each = Homeless(replica=replica(0, ONE), node="a")
    assert assume([each], [gpu("a", 0), gpu("a", 1)], [held])[each.replica.id] == ("a/GPU-1",)


def test_shares_of_one_device_are_filled_up() -> None:
    option = GpuOption(memory_mib=1_000, sharing=Sharing.SHARED)
    pods = [Homeless(replica=replica(i, option), node="a") for i in range(2)]
    found = assume(pods, [gpu("a", shares=2)], ())
    assert set(found.values()) == {("a/GPU-0",)}


def test_two_devices_of_one_replica_are_in_one_node() -> None:
    two = GpuOption(memory_mib=1, count=2)
    each = Homeless(replica=replica(0, two), node="")
    found = assume([each], [gpu("a", 0), gpu("b", 0), gpu("b", 1)], ())
    assert found[each.replica.id] == ("b/GPU-0", "b/GPU-1")


def test_a_cpu_replica_takes_the_cores_of_its_node() -> None:
    each = Homeless(replica=replica(0, millicores=500), node="b")
    assert assume([each], [cores("a"), cores("b")], ())[each.replica.id] == ("b/cpu",)


def test_where_nothing_would_do_nothing_is_taken() -> None:
    each = Homeless(replica=replica(0, GpuOption(memory_mib=99_999)), node="a")
    assert assume([each], [gpu("a")], ()) == {each.replica.id: ()}


def test_the_option_that_a_device_satisfies_says_what_is_held() -> None:
    options = (GpuOption(memory_mib=80_000), GpuOption(memory_mib=20_000))
    by_id = {"a/GPU-0": gpu("a")}
    assert [r.memory_mib for r in reservations_of(replica(0, *options), ["a/GPU-0"], by_id)] == [20_000]
