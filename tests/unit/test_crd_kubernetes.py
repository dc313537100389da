"""Decoding a GpuFunction for a cluster: what acts there is decoded in full, and what does not is told."""

from typing import Any

import pytest
from pod_shapes import SERVERS, decoded, document_of, server

from stoker.control.capacity import needs_of
from stoker.errors import InvalidObject
from stoker.model.container import Artifact, EnvVar, KeyKind, KeyRef, Mount, Protocol, Volume, VolumeKind
from stoker.model.function import (
    Access,
    CostBounds,
    Function,
    KeepAlivePolicy,
    PreWarm,
    PreWarmPolicy,
    PreWarmWindow,
    Variant,
    Visibility,
)
from stoker.model.mode import Mode
from stoker.wire.crd import decode_function

pytestmark = pytest.mark.unit


def one(container: dict[str, Any] | None = None, **spec: Any) -> Function:
    return decoded(document_of(container=container, spec=spec))


@pytest.mark.parametrize("file", SERVERS, ids=lambda file: file.stem)
def test_unmodified_servers_are_accepted_without_a_warning(file: Any) -> None:
    assert decoded(server(file)).warnings == ()


def test_all_that_a_pod_needs_is_in_the_model() -> None:
    file = next(file for file in SERVERS if file.stem == "all-fields")
    function = decoded(server(file))
    container = function.spec.container
    assert container.image == "registry.example:5000/full:1"
    assert container.protocol is Protocol.HTTP1
    assert container.env[:3] == (
        EnvVar(name="MODE", value="fast"),
        EnvVar(name="TOKEN", source=KeyRef(kind=KeyKind.SECRET, name="token", key="value")),
        EnvVar(name="LEVEL", source=KeyRef(kind=KeyKind.CONFIG_MAP, name="settings", key="level")),
    )
    assert container.volumes == (
        Volume(name="scratch", kind=VolumeKind.EMPTY_DIR, size_limit_mib=1024),
        Volume(name="settings", kind=VolumeKind.CONFIG_MAP, source="settings"),
        Volume(name="token", kind=VolumeKind.SECRET, source="token"),
        Volume(name="data", kind=VolumeKind.CLAIM, source="data", read_only=True),
        Volume(name="weights", kind=VolumeKind.IMAGE, source="registry.example/weights:1"),
    )
    assert container.mounts[3] == Mount(volume="data", path="/data", read_only=True, sub_path="a/b")
    assert (container.shm_mib, container.run_as_user, container.fs_group) == (1024, 1000, 2000)
    assert (container.image_pull_secrets, container.service_account_name) == (("pull",), "runner")
    assert container.metrics_port == 9100
    assert function.spec.gpu[0].resource_name == "nvidia.com/gpu.shared"
    assert function.spec.artifacts == (Artifact(kind=VolumeKind.CLAIM, source="models", path="/models"),)
    cpu = function.container_of(Variant.CPU)
    assert (cpu.image, cpu.volumes, cpu.shm_mib) == (container.image, container.volumes, 1024)


def test_only_kinds_with_the_resource_that_the_pod_asks_for_are_in_the_model() -> None:
    mig = {"memory": "20Gi", "resourceName": "nvidia.com/mig-3g.20gb"}
    kinds = [mig, {"memory": "40Gi"}, {**mig, "memory": "10Gi"}]
    function = one(gpu={"anyOf": kinds})
    options = function.spec.gpu
    assert [(each.memory_mib, each.resource_name) for each in options] == [
        (20_480, "nvidia.com/mig-3g.20gb"),
        (10_240, "nvidia.com/mig-3g.20gb"),
    ]
    # Else a whole GPU would be reserved for a pod that can never be bound to it.
    assert [need.memory_mib for need in needs_of(function, Variant.GPU)] == [20_480, 10_240]
    embedded = decode_function(document_of(spec={"gpu": {"anyOf": kinds}}), mode=Mode.EMBEDDED)
    assert len(embedded.spec.gpu) == 3


def test_what_acts_live_is_in_the_model_too() -> None:
    function = one(
        slo={"latency": "1s", "maxCostPerHour": 2.5},
        scaling={
            "keepAlive": {"policy": "HybridHistogram", "ttl": "1m"},
            "preWarm": {"policy": "Cron", "windows": [{"cron": "0 8 * * 1-5", "duration": "10h", "replicas": 2}]},
        },
        access={"visibility": "Public", "allow": ["other"], "hostnames": ["a.example"]},
        rollout={"canaryPercent": 10},
    )
    assert function.spec.slo.cost == CostBounds(per_hour=2.5)
    assert function.spec.scaling.keep_alive is KeepAlivePolicy.HYBRID_HISTOGRAM
    window = PreWarmWindow(cron="0 8 * * 1-5", duration_us=36_000_000_000, replicas=2)
    assert function.spec.scaling.pre_warm == PreWarm(policy=PreWarmPolicy.CRON, windows=(window,))
    assert one().spec.scaling.pre_warm is None
    assert function.spec.access == Access(visibility=Visibility.PUBLIC, allow=("other",), hostnames=("a.example",))
    assert function.spec.canary_percent == 10


def test_who_may_call_is_the_cluster_unless_said_otherwise() -> None:
    assert one().spec.access == Access(visibility=Visibility.CLUSTER)


def test_labels_and_annotations_are_kept_except_those_that_no_pod_may_have() -> None:
    metadata = {
        "labels": {"team.example/owner": "a", "app": "b", "stoker.dev/function": "x", "app.kubernetes.io/name": "y"},
        "annotations": {"note": "c", "kubectl.kubernetes.io/last-applied-configuration": "{...}"},
    }
    function = decoded(document_of(metadata=metadata))
    assert function.labels == {"team.example/owner": "a", "app": "b"}
    assert function.annotations == {"note": "c"}
    assert decoded(document_of(metadata={"labels": None})).labels == {}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"rollout": {"canaryPercent": 5}}, "rollout.canaryPercent"),
        (
            {"gpu": {"anyOf": [{"memory": "1Gi"}, {"memory": "1Gi", "resourceName": "nvidia.com/mig-1g.5gb"}]}},
            "gpu.anyOf",
        ),
    ],
)
def test_each_field_that_does_not_act_is_told_in_one_sentence(spec: dict[str, Any], field: str) -> None:
    (warning,) = one(**spec).warnings
    assert warning.startswith(f"spec.{field}")
    assert warning.endswith(".")


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        ({"container": {"image": None, "command": ["x"]}}, "spec.container.image", "is needed on Kubernetes"),
        ({"container": {"protocol": "GRPC"}}, "spec.container.protocol", "use HTTP1"),
        (
            {"artifacts": [{"uri": "s3://b/k", "digest": "sha256:" + "0" * 64, "mountPath": "/m"}]},
            "spec.artifacts[0].uri",
            "use image (an OCI artifact with the files) or claim",
        ),
        ({"cpuVariant": {"image": "A"}}, "spec.cpuVariant.image", "is not an image"),
        ({"cpuVariant": {"env": [{"name": "LD_AUDIT", "value": "x"}]}}, "spec.cpuVariant.env[0].name", "leave it out"),
        ({"container": {"args": ["x" * 4000] * 70}}, "spec.container", "put data into a ConfigMap or an image"),
        (
            {"container": {"shm": "2Gi"}, "cpuVariant": {"resources": {"memory": "1Gi"}}},
            "spec.cpuVariant.resources.memory",
            "must be at least shm",
        ),
    ],
)
def test_what_cannot_be_a_pod_is_named_with_its_path(spec: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(InvalidObject) as caught:
        one(**spec)
    assert caught.value.path == path
    assert words in caught.value.message


def test_a_function_for_cpus_only_may_have_its_image_in_the_variant() -> None:
    document = document_of(container={"image": None, "command": ["x"]}, spec={"cpuVariant": {"image": "a"}})
    del document["spec"]["gpu"]
    assert decoded(document).container_of(Variant.CPU).image == "a"


@pytest.mark.parametrize(
    "image",
    [
        "a", "a/b", "docker.io/library/a", "localhost/a:1", "localhost:5000/a_b/c.d--e:v1.2-x", "[::1]:5000/a:1",
        "registry.example/a@sha256:" + "0" * 64, "registry.example/a:1@sha256:" + "f" * 64, "REGISTRY.example/a",
    ],
)  # fmt: skip
def test_every_form_of_an_image_is_accepted(image: str) -> None:
    assert one({"image": image}).spec.container.image == image
