"""The pods of unmodified servers and of the examples, a file each; STOKER_GOLDEN=1 rewrites them, but no revision."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pod_shapes import ROOT, SERVERS, decoded, document_of, params, pod_of, server
from settings_of_tests import GOLDEN

from stoker.model.function import Function
from stoker.model.policy import PodSecurity, Pool, Toleration
from stoker.pods.objects import network_policy, service
from stoker.pods.prefetch import prefetch_pod

pytestmark = pytest.mark.golden

FILES = Path(__file__).parent / "files"
EXAMPLES = sorted((ROOT / "examples").glob("*/function.yaml"))
POOL = Pool(
    name="gpus",
    node_selector={"pool.example/name": "gpus"},
    tolerations=(Toleration(key="team.example/gpus", operator="Exists"),),
    runtime_class="nvidia",
    priority_class="inference",
)


def example(file: Path) -> Function:
    document: dict[str, Any] = yaml.safe_load(file.read_text())
    document["metadata"].setdefault("namespace", "default")
    document["spec"]["container"].setdefault("image", f"registry.example/{file.parent.name}:1")
    return decoded(document)


def objects() -> dict[str, list[dict[str, Any]]]:
    servers = {file.stem: decoded(server(file)) for file in SERVERS}
    found = {
        f"pod-{name}": [pod_of(function, variant) for variant in function.variants]
        for name, function in servers.items()
    }
    found |= {
        f"pod-example-{file.parent.name}": [pod_of(example(file), variant) for variant in example(file).variants]
        for file in EXAMPLES
    }
    baseline = params(PodSecurity.BASELINE, label_prefixes=("team.example/",), pool=POOL, ephemeral_storage_mib=4096)
    found["pod-baseline-in-a-pool"] = [pod_of(servers["all-fields"], with_params=baseline)]
    full = servers["all-fields"]
    found["objects-beside-pods"] = [
        service(full, "stoker-gateway.stoker-system.svc.cluster.local"),
        network_policy(full, system_namespace="stoker-system", metrics_namespaces=["monitoring"]),
        prefetch_pod(full, "registry.example:5000/full:1", "node-a", params(pool=POOL)),
    ]
    return found


OBJECTS = objects()


@pytest.mark.parametrize("name", OBJECTS)
def test_the_objects_are_as_recorded(name: str) -> None:
    path = FILES / f"{name}.yaml"
    text = yaml.safe_dump_all(OBJECTS[name], sort_keys=False, width=120)
    if GOLDEN:
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} is out of date: look at the difference, then make golden"


def test_every_recorded_object_has_its_function() -> None:
    recorded = {path.stem for pattern in ("pod-*.yaml", "objects-*.yaml") for path in FILES.glob(pattern)}
    assert recorded == OBJECTS.keys()


REVISIONS = {
    "all-fields": "59c996d368",
    "distroless-python": "fa736cd7a7",
    "llama-cpp": "05d8e5ee3a",
    "tei": "8589ee4127",
    "triton": "f14c038984",
    "vllm": "9d490e0175",
}


@pytest.mark.parametrize("file", SERVERS, ids=lambda file: file.stem)
def test_a_revision_is_the_same_in_every_stoker(file: Path) -> None:
    """Written by hand on purpose: one that changes here would restart every pod at the upgrade."""
    assert decoded(server(file)).revision == REVISIONS[file.stem]


def test_the_smallest_revision_is_the_same_in_every_stoker() -> None:
    assert decoded(document_of()).revision == "d2accd2d8b"
