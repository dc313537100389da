"""What a gateway makes of the objects in its watches (functions, hostnames, devices), and what it tells of demand."""

from typing import Any

import msgspec
import pytest

from stoker.decisions import RequestRecord
from stoker.model.demand import VariantDemand
from stoker.model.function import Variant
from stoker.wire.cluster import VariantDemandReport
from stoker_gateway.kubernetes.demand_frame import demand_frame
from stoker_gateway.kubernetes.device_book import DeviceBook
from stoker_gateway.kubernetes.function_book import FunctionBook, why_waiting
from stoker_gateway.kubernetes.objects import GpuFunction
from stoker_gateway.record_ring import RecordRing
from stoker_runtime.own_kinds import Applied, FunctionNode

pytestmark = pytest.mark.unit


class Changes:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def gpu_function(name: str = "f", *, generation: int = 1, **changes: Any) -> GpuFunction:
    """`changes`: metadata by `meta`, status by `status`, the rest into the spec."""
    metadata = {
        "name": name,
        "namespace": "a",
        "uid": f"uid-{name}",
        "generation": generation,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    } | changes.pop("meta", {})
    spec = {"container": {"image": "x"}, "gpu": {"memory": "4Gi"}, "slo": {"latency": "250ms"}}
    status = changes.pop("status", None)
    return msgspec.convert({"metadata": metadata, "spec": spec | changes, "status": status}, GpuFunction)


def policy(**spec: Any) -> Applied:
    return msgspec.convert({"metadata": {"name": "default"}, "spec": spec}, Applied)


def ledger(name: str, *devices: dict[str, Any], **status: Any) -> FunctionNode:
    content = {"agent": {"pod": "p", "address": "10.0.0.1"}, "devices": devices} | status
    return msgspec.convert({"metadata": {"name": name}, "status": content}, FunctionNode)


def gpu(identity: str = "GPU-1", memory_mib: int = 16384, **more: Any) -> dict[str, Any]:
    return {"id": identity, "kind": "gpu", "product": "T4", "memoryMib": memory_mib, "healthy": True} | more


def cpu(millicores: int = 4000) -> dict[str, Any]:
    return {"id": "cpu", "kind": "cpu", "product": "cpu", "memoryMib": 8000, "millicores": millicores, "healthy": True}


def test_a_function_is_served_in_the_newest_form_that_is_understood(caplog: pytest.LogCaptureFixture) -> None:
    changed = Changes()
    book = FunctionBook(changed)
    first = gpu_function()
    book.see_function(None, first)
    assert book.functions["a/f"].generation == 1
    bad = gpu_function(generation=2, slo={"latency": "soon"})
    book.see_function(first, bad)
    assert book.functions["a/f"].generation == 1
    book.see_function(bad, gpu_function(generation=3, timeout="5s"))
    assert book.functions["a/f"].spec.timeout_us == 5_000_000
    assert changed.count == 2


def test_a_function_that_was_never_understood_is_not_served() -> None:
    book = FunctionBook(Changes())
    book.see_function(None, gpu_function(slo={}))
    assert book.functions == {}


def test_status_writes_change_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    changed = Changes()
    book = FunctionBook(changed)
    before = gpu_function(slo={"latency": "soon"})
    book.see_function(None, before)
    said = capsys.readouterr().out
    book.see_function(before, gpu_function(slo={"latency": "soon"}, status={"conditions": []}))
    assert capsys.readouterr().out == ""
    assert "function_invalid" in said
    assert changed.count == 0


def test_a_function_made_anew_owes_nothing_to_the_old_one() -> None:
    book = FunctionBook(Changes())
    book.see_function(None, gpu_function())
    book.see_function(None, gpu_function(meta={"uid": "new"}, slo={"latency": "soon"}))
    assert book.functions == {}


def test_a_function_that_goes_is_gone_at_once() -> None:
    changed = Changes()
    book = FunctionBook(changed)
    first, second = gpu_function("f"), gpu_function("g")
    book.see_function(None, first)
    book.see_function(None, second)
    book.see_function(first, gpu_function("f", meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
    book.see_function(second, None)
    assert book.functions == {}
    assert changed.count == 4
    book.see_function(None, gpu_function("f", meta={"uid": "again"}))
    assert set(book.functions) == {"a/f"}


def test_hostnames_of_public_functions_under_an_allowed_suffix_lead_to_the_oldest() -> None:
    changed = Changes()
    book = FunctionBook(changed)

    def asking(name: str, born: str, hostname: str, visibility: str = "Public") -> None:
        access = {"visibility": visibility, "hostnames": [hostname]}
        book.see_function(None, gpu_function(name, meta={"creationTimestamp": born}, access=access))

    asking("young", "2026-02-02T00:00:00Z", "ocr.example.com")
    asking("old", "2026-01-01T00:00:00Z", "ocr.example.com")
    asking("inside", "2026-01-01T00:00:00Z", "inside.example.com", "Cluster")
    asking("elsewhere", "2026-01-01T00:00:00Z", "x.example.org")
    assert book.hostnames() == {}
    count = changed.count
    allowing = policy(namespaces=[{"name": "a", "hostnameSuffixes": ["example.com"]}])
    book.see_policy(None, allowing)
    assert changed.count == count + 1
    assert book.hostnames() == {"ocr.example.com": "a/old"}
    book.see_policy(allowing, policy(namespaces="nonsense"))
    assert book.hostnames() == {"ocr.example.com": "a/old"}
    book.see_policy(allowing, None)
    assert book.hostnames() == {}


def test_what_a_function_waits_for_is_its_ready_conditions_word() -> None:
    def saying(**condition: str) -> str:
        conditions = [{"type": "Active", "message": "no"}, {"type": "Ready", "status": "False"} | condition]
        return why_waiting(gpu_function(status={"conditions": conditions}))

    assert saying(reason="WaitingForGpu", message="all 2 GPUs are held") == "all 2 GPUs are held"
    assert saying(reason="WaitingForGpu") == "WaitingForGpu"
    assert why_waiting(gpu_function()) == why_waiting(None) == why_waiting(gpu_function(status={})) == ""


def test_nothing_is_unplaceable_while_no_ledger_is_known() -> None:
    functions = FunctionBook(Changes())
    functions.see_function(None, gpu_function(gpu={"memory": "800Gi"}))
    devices = DeviceBook(Changes())
    assert devices.unplaceable(functions.functions.values()) == {}
    devices.see_node(None, FunctionNode(metadata=ledger("n").metadata))  # its agent has not written yet
    assert devices.unplaceable(functions.functions.values()) == {}


def test_what_no_node_could_hold_is_unplaceable_and_placeable_once_one_can() -> None:
    functions = FunctionBook(Changes())
    functions.see_function(None, gpu_function("big", gpu={"memory": "40Gi"}, cpuVariant={"resources": {"cpu": "2"}}))
    functions.see_function(None, gpu_function("two", gpu={"memory": "10Gi", "count": 2}))
    functions.see_function(None, gpu_function("small"))
    changed = Changes()
    devices = DeviceBook(changed)

    def unplaceable() -> dict[str, set[Variant]]:
        found = devices.unplaceable(functions.functions.values())
        assert all(why for of_function in found.values() for why in of_function.values())
        return {key: set(of_function) for key, of_function in found.items()}

    devices.see_node(None, ledger("cpu-only", cpu()))
    assert unplaceable() == {"a/big": {Variant.GPU}, "a/two": {Variant.GPU}, "a/small": {Variant.GPU}}
    assert "no node of this cluster" in devices.unplaceable(functions.functions.values())["a/small"][Variant.GPU]
    one = ledger("n1", gpu(), cpu())
    devices.see_node(None, one)
    assert unplaceable() == {"a/big": {Variant.GPU}, "a/two": {Variant.GPU}}
    count = changed.count
    same, busy = ledger("n2", gpu("GPU-9"), cpu()), ledger("n1", gpu(usedMemoryMib=9000, healthy=False), cpu())
    devices.see_node(None, same)
    devices.see_node(one, busy)
    assert changed.count == count  # one more of a kind; and a sick device is one that could get well
    # Two nodes with one GPU each are no node with two.
    assert unplaceable() == {"a/big": {Variant.GPU}, "a/two": {Variant.GPU}}
    large = ledger("n3", gpu("GPU-1", 81920), gpu("GPU-2", 81920))
    devices.see_node(None, large)
    assert unplaceable() == {}
    devices.see_node(same, None)
    assert changed.count == count + 1
    devices.see_node(large, None)
    assert unplaceable() == {"a/big": {Variant.GPU}, "a/two": {Variant.GPU}}


def test_a_ledger_that_is_garbage_leaves_what_was_known() -> None:
    changed = Changes()
    devices = DeviceBook(changed)
    before = ledger("n1", gpu())
    devices.see_node(None, before)
    devices.see_node(before, ledger("n1", {"id": 7}))
    assert changed.count == 1


def test_demand_travels_as_ages() -> None:
    demand = {
        "a/f": {
            Variant.GPU: VariantDemand(held=2, in_system=3, last_wake_us=1_000_000, oldest_held_us=500_000, arrivals=9)
        },
        "a/g": {Variant.CPU: VariantDemand(last_wake_us=9_000_000)},
    }
    frame = demand_frame(4, "gateway-a", demand, {}, 2_000_000)
    assert (frame.seq, frame.gateway) == (4, "gateway-a")
    assert frame.functions == {
        "a/f": {
            Variant.GPU: VariantDemandReport(held=2, in_system=3, last_wake_ms=1000, oldest_held_ms=1500, arrivals=9)
        },
        "a/g": {Variant.CPU: VariantDemandReport(last_wake_ms=0)},
    }


def test_the_ring_of_records_is_bounded_and_a_repeated_id_names_its_newest() -> None:
    def record(identity: str) -> RequestRecord:
        return RequestRecord(id=identity, function="", arrived_at="")

    ring = RecordRing(2)
    records = [record(identity) for identity in ("a", "a", "b")]
    for one in records:
        ring.add(one)
    assert len(ring) == 2
    assert ring.get("a") is records[1]
    ring.add(record("c"))
    assert ring.get("a") is None
    assert ring.get("b") is records[2]
