"""The view of a running platform says what its parts say, and the banner says where to go."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from stoker.decisions import RequestRecord
from stoker.model.demand import VariantDemand
from stoker.model.device import Device, DeviceKind, Reservation
from stoker.model.function import ContainerSpec, CpuVariant, Function, FunctionSpec, GpuOption, Slo, Variant
from stoker.model.policy import default_policy
from stoker.model.replica import ReplicaSpec, ReplicaState, ReplicaStatus
from stoker.model.status import Condition, FunctionStatus
from stoker.prediction import Predictions
from stoker.reasons import Outcome, Reason
from stoker_cli.banner import banner
from stoker_cli.describe import World, describe
from stoker_cli.records import Records
from stoker_cli.state_view import StateView

pytestmark = pytest.mark.unit

SIMULATED = Device(id="sim-0", kind=DeviceKind.GPU, product="A100-40GB", memory_mib=40960, simulated=True)
CPU = Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=8192, millicores=1750)
OCR = Function(
    namespace="default",
    name="ocr",
    uid="u",
    generation=1,
    revision="new",
    spec=FunctionSpec(
        container=ContainerSpec(command=("serve",)),
        gpu=(GpuOption(memory_mib=4096),),
        cpu_variant=CpuVariant(container=ContainerSpec(command=("serve",))),
        slo=Slo(latency_us=250_000, classes={"batch": 5_000_000}),
    ),
)
REPLICA = ReplicaStatus(
    spec=ReplicaSpec(
        id="default/ocr-old-0",
        function="default/ocr",
        variant=Variant.GPU,
        revision="old",
        ordinal=0,
        devices=("sim-0",),
    ),
    state=ReplicaState.WARM,
    started_us=0,
    in_flight=1,
)


def world(**fields: Any) -> World:
    status = FunctionStatus(
        function="default/ocr",
        revision="old",
        updating="new",
        conditions=(Condition(type="Ready", status=True, reason=Reason.READY, message="1 warm"),),
        why_waiting="its next revision starts",
    )
    known: dict[str, Any] = {
        "pid": 7,
        "url": "http://127.0.0.1:8080",
        "uptime_us": 2_500_000,
        "policy": msgspec.structs.replace(default_policy(), queueing="fcfs"),
        "draining": False,
        "functions": {"default/ocr": OCR},
        "statuses": {"default/ocr": status},
        "replicas": [REPLICA],
        "devices": [SIMULATED, CPU],
        "reservations": [
            Reservation(replica_id="default/ocr-old-0", device_id="sim-0", memory_mib=4096),
            Reservation(replica_id="default/ocr-new-0", device_id="sim-0", memory_mib=4096),
        ],
        "demand": {"default/ocr": {Variant.GPU: VariantDemand(held=3, in_system=9)}},
        "queued": {"default/ocr": {Variant.GPU: 5}},
        "prediction": Predictions(),
        "records": Records(10),
    }
    return World(**{**known, **fields})


def test_a_function_is_shown_with_replicas_requests_conditions_and_revisions() -> None:
    view = describe(world())
    ocr = view.functions["default/ocr"]
    assert (ocr.url, ocr.revision, ocr.updating) == ("http://127.0.0.1:8080/default/ocr/", "old", "new")
    ready = ocr.condition("Ready")
    assert ready is not None
    assert (ready.reason, ready.message) == ("Ready", "1 warm")
    gpu = ocr.variants[Variant.GPU]
    assert (gpu.replicas, gpu.held, gpu.queued, gpu.running) == ({"warm": 1}, 3, 5, 1)
    assert gpu.exec_samples == 0
    assert ocr.variants[Variant.CPU].replicas == {}
    assert ocr.classes == {"batch": 5000.0}


def test_devices_show_their_reservations_also_of_replicas_that_have_no_process_yet() -> None:
    gpu, cpu = describe(world()).devices
    assert (gpu.reserved_mib, gpu.memory_mib, gpu.simulated) == (8192, 40960, True)
    assert [(one.replica, one.state, one.in_flight) for one in gpu.residents] == [
        ("default/ocr-old-0", "warm", 1),
        ("default/ocr-new-0", "starting", 0),
    ]
    assert cpu.residents == []


def test_attainment_counts_every_miss_and_is_unknown_before_the_first_request() -> None:
    records = Records(10)
    records.track({"default/ocr"})
    assert describe(world(records=records)).functions["default/ocr"].slo.attainment is None
    for outcome, on_time in ((Outcome.SERVED, True), (Outcome.SERVED, False), (Outcome.REFUSED, False)):
        records.add(
            RequestRecord(id="r", function="default/ocr", arrived_at="", outcome=outcome, on_time=on_time, exec_us=1000)
        )
    slo = describe(world(records=records)).functions["default/ocr"].slo
    assert (slo.offered, slo.on_time, slo.late, slo.refused) == (3, 1, 1, 1)
    assert slo.attainment == pytest.approx(1 / 3, abs=1e-6)


def test_a_function_without_a_plan_yet_is_shown_all_the_same() -> None:
    ocr = describe(world(statuses={}, replicas=[], reservations=[], demand={}, queued={})).functions["default/ocr"]
    assert (ocr.revision, ocr.conditions) == ("new", [])


def test_the_view_survives_its_wire() -> None:
    view = describe(world())
    assert msgspec.json.decode(msgspec.json.encode(view), type=StateView) == view


def test_the_banner_names_url_functions_devices_and_simulation() -> None:
    text = banner(
        "http://127.0.0.1:8080", "http://127.0.0.1:8081", {"default/ocr": OCR}, [SIMULATED, CPU], Path("logs")
    )
    for part in (
        "http://127.0.0.1:8080/default/ocr/",
        "http://127.0.0.1:8081",
        "slo 250 ms",
        "(simulated), 40 GiB",
        "1.75 cores",
        "Simulated GPUs do the accounting only",
        "stoker invoke ocr",
    ):
        assert part in text
    assert "none yet" in banner("http://a", "http://b", {}, [CPU], Path("logs"))
    assert "Simulated" not in banner("http://a", "http://b", {}, [CPU], Path("logs"))
