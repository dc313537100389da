from pathlib import Path
from typing import Any

import pytest

from stoker.errors import InvalidObject
from stoker.model.device import Device, DeviceKind
from stoker.model.fitting import fits_any
from stoker.model.function import EnvVar, Function, GpuOption, Measure, OnMiss, Priority, Probe, Sharing, Variant
from stoker.wire.crd import decode_function

pytestmark = pytest.mark.unit


def decode(container: dict[str, Any] | None = None, gpu: dict[str, Any] | None = None, **spec: Any) -> Function:
    """A minimal function with some fields over it; `gpu={}` leaves the GPU out."""
    whole: dict[str, Any] = {
        "container": {"command": ["x"], **(container or {})},
        "slo": {"latency": "250ms"},
        **({"gpu": gpu or {"memory": "4Gi"}} if gpu != {} else {}),
        **spec,
    }
    document = {
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": "GpuFunction",
        "metadata": {"name": "f", "namespace": "team"},
        "spec": whole,
    }
    return decode_function(document, uid="u", generation=3, origin="f.yaml", work_dir="/somewhere")


def test_a_minimal_function_has_all_defaults() -> None:
    function = decode()
    assert (function.key, function.uid, function.generation) == ("team/f", "u", 3)
    assert (function.origin, function.work_dir) == ("f.yaml", "/somewhere")
    assert function.warnings == ()
    spec = function.spec
    assert spec.gpu == (GpuOption(memory_mib=4096),)
    assert (spec.slo.latency_us, spec.slo.percentile, spec.slo.cold_latency_us) == (250_000, 99.0, None)
    assert spec.timeout_us == 60_000_000
    assert spec.on_predicted_miss == (OnMiss.DIVERT, OnMiss.SERVE_LATE)
    assert (spec.queue.max_requests, spec.queue.max_bytes) == (1000, 64 * 2**20)
    assert (spec.scaling.min_replicas, spec.scaling.max_replicas, spec.scaling.concurrency) == (0, 10, 1)
    assert spec.scaling.keep_alive_ttl_us == 300_000_000
    assert spec.container.readiness == Probe()
    assert spec.container.no_wake_paths == ("/health", "/healthz", "/readyz", "/livez", "/metrics")
    assert spec.progress_deadline_us == 600_000_000
    assert spec.priority is Priority.STANDARD


def test_quantities_become_integers() -> None:
    function = decode(
        container={"resources": {"cpu": 2, "memory": "1G"}, "startupTimeout": "1m30s", "terminationGracePeriod": "5s"},
        slo={"latency": "1s", "measure": "FirstByte", "coldLatency": "20s", "classes": {"bulk": "30s"}},
        queue={"maxBytes": 5000},
    )
    container = function.spec.container
    assert (container.cpu_millis, container.memory_mib) == (2000, 954)
    assert (container.startup_timeout_us, container.termination_grace_us) == (90_000_000, 5_000_000)
    assert function.spec.slo.measure is Measure.FIRST_BYTE
    assert function.spec.slo.cold_latency_us == 20_000_000
    assert function.objective_us("bulk") == 30_000_000
    assert function.spec.queue.max_bytes == 5000


def test_kinds_of_device_stay_in_their_order_and_share_count_and_sharing() -> None:
    function = decode(gpu={"sharing": "Shared", "anyOf": [{"memory": "20Gi", "products": ["A"]}, {"memory": "1Gi"}]})
    assert function.spec.gpu == (
        GpuOption(memory_mib=20480, products=("A",), sharing=Sharing.SHARED),
        GpuOption(memory_mib=1024, sharing=Sharing.SHARED),
    )


def test_the_cpu_variant_takes_from_the_container_what_it_leaves_out() -> None:
    base = {
        "args": ["--gpu"],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "readiness": {"path": "/r"},
        "resources": {"cpu": 4},
    }
    same = decode(container=base, cpuVariant={}).container_of(Variant.CPU)
    assert (same.command, same.args, same.readiness, same.cpu_millis) == (("x",), ("--gpu",), Probe(path="/r"), 1000)
    own = decode(
        container=base,
        cpuVariant={"command": ["y"], "env": [{"name": "B", "value": "3"}], "readiness": {"tcp": True}},
    ).container_of(Variant.CPU)
    assert (own.command, own.args, own.readiness) == (("y",), (), Probe())
    assert own.env == (EnvVar(name="A", value="1"), EnvVar(name="B", value="3"))


def test_without_a_gpu_the_cpu_variant_is_the_primary_one_and_scaling_is_its() -> None:
    function = decode(gpu={}, cpuVariant={}, scaling={"minReplicas": 1, "maxReplicas": 3, "concurrency": 4})
    assert function.variants == (Variant.CPU,)
    assert function.concurrency_of(Variant.CPU) == 4
    assert (function.min_replicas_of(Variant.CPU), function.max_replicas_of(Variant.CPU)) == (1, 3)


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        ({"slo": {"latency": "x"}}, "spec.slo.latency", "is not a duration"),
        ({"slo": {"latency": 5}}, "spec.slo.latency", "Expected str, got int"),
        ({"timeout": "100ms"}, "spec.slo.latency", "must be at most timeout"),
        ({"gpu": {}}, "spec", "say where it runs"),
        ({"container": {"env": [{"name": "A"}]}}, "spec.container.env[0]", "give exactly one of value, valueFrom"),
        ({"more": 1}, "spec", "unknown field more"),
        ({"container": {"protocol": "GRPC"}}, "spec.container.protocol", "not served in embedded mode yet"),
        (
            {"container": {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]}},
            "spec.container.env[0].valueFrom",
            "no Secrets and ConfigMaps",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_path(spec: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(InvalidObject) as caught:
        decode(**spec)
    assert caught.value.path == path
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"gpu": {"memory": "1Gi", "resourceName": "nvidia.com/gpu"}}, "gpu.resourceName"),
        ({"access": {"visibility": "Public"}}, "access"),
        ({"access": {"visibility": "Public", "hostnames": ["a.example"]}}, "access"),
        ({"rollout": {"canaryPercent": 5}}, "rollout.canaryPercent"),
    ],
)
def test_each_field_that_does_not_act_yet_is_told_in_one_sentence(spec: dict[str, Any], field: str) -> None:
    (warning,) = decode(**spec).warnings
    assert warning.startswith(f"spec.{field}")
    assert warning.endswith(".")


GPUS = tuple(Device(id=f"g{i}", kind=DeviceKind.GPU, product="A", memory_mib=8192) for i in range(2))
CPU = Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=2048, millicores=1500)


@pytest.mark.parametrize(
    ("spec", "devices", "words"),
    [
        ({}, (*GPUS, CPU), None),
        ({"gpu": {"memory": "4Gi", "count": 2}}, GPUS, None),
        ({"gpu": {"anyOf": [{"memory": "80Gi"}, {"memory": "8Gi", "products": ["A"]}]}}, GPUS, None),
        (
            {"gpu": {"memory": "9Gi"}},
            GPUS,
            "wants 9216 MiB, more than any GPU here can give (2 in all: A with 8192 MiB)",
        ),
        ({"gpu": {"memory": "4Gi", "count": 3}}, GPUS, "wants 3 x 4096 MiB"),
        ({"gpu": {"memory": "4Gi", "products": ["B"]}}, GPUS, "on B"),
        ({}, (CPU,), "there is none here"),
        ({"cpuVariant": {"resources": {"cpu": 64}}}, (*GPUS, CPU), None),
        ({"gpu": {}, "cpuVariant": {}}, (CPU,), None),
        ({"gpu": {}, "cpuVariant": {"resources": {"cpu": 2}}}, (CPU,), "wants 2000 millicores"),
        ({"gpu": {}, "cpuVariant": {"resources": {"memory": "4Gi"}}}, (CPU,), "4096 MiB of host memory"),
    ],
)
def test_a_function_that_no_device_can_hold_is_told_why(
    spec: dict[str, Any], devices: tuple[Device, ...], words: str | None
) -> None:
    reason = fits_any(decode(**spec), devices)
    assert (reason is None) == (words is None)
    assert (words or "") in (reason or "")


def test_the_decoder_reads_no_file() -> None:
    assert not Path("/somewhere").exists()
    assert decode().work_dir == "/somewhere"
