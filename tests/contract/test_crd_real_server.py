"""The real API server judges every example as `stoker serve` does, gives the same defaults, and takes what we write."""

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from crd_server import AGENT, OPERATOR, Server, Who, collection, crds

from stoker.model.device import Device, DeviceKind, DeviceMode
from stoker.model.function import Variant
from stoker.model.mode import Mode
from stoker.model.policy import default_policy
from stoker.model.replica import ReplicaState
from stoker.wire.function_node import (
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
)
from stoker.wire.policy import decode_policy, default_policy_document
from stoker_cli.objects.documents import Document, read_documents
from stoker_cli.objects.validation import Validator

pytestmark = [pytest.mark.contract, pytest.mark.timeout(120)]
pytest_plugins = ("crd_server_fixture",)

EXAMPLES = Path(__file__).parent / "crd_examples"
GOOD = sorted((EXAMPLES / "good").glob("*.yaml"))
BAD = sorted((EXAMPLES / "bad").glob("*.yaml"))
KINDS = ("GpuFunction", "GpuPolicy")
MOST = 20
"""Documents of a file that are sent: one example has thousands."""
SERVER_OWNED = ("uid", "resourceVersion", "generation", "creationTimestamp")


@pytest.fixture(scope="module")
def namespace(server: Server) -> str:
    return server.namespace()


def sendable(file: Path) -> Iterator[Document]:
    """What of a file kubectl could send at all: the rest is refused before an API server sees it."""
    for document in read_documents(file.read_bytes(), file.name)[0][:MOST]:
        value = document.value
        if not isinstance(value, dict) or value.get("kind") not in KINDS:
            continue
        if value.get("apiVersion") != "stoker.dev/v1alpha1" or not isinstance(value.get("metadata"), dict):
            continue
        if not isinstance(value["metadata"].get("name"), str) or file.stem in ("bad-namespace", "infinity"):
            continue
        yield document


def placed(value: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The object in the namespace of the test, without what only a server writes."""
    metadata = {name: part for name, part in value["metadata"].items() if name not in SERVER_OWNED}
    if value["kind"] == "GpuFunction":
        metadata["namespace"] = namespace
    return {**value, "metadata": metadata}


def judged(document: Document, namespace: str) -> tuple[dict[str, Any] | None, list[Any], dict[str, Any]]:
    value = placed(document.value, namespace)
    defaulted, errors = Validator.packaged().validate(Document(file="f", line=1, value=value, lines={}))
    return defaulted, errors, value


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_a_good_example_is_accepted_with_the_defaults_that_we_give(file: Path, server: Server, namespace: str) -> None:
    for document in sendable(file):
        defaulted, _, value = judged(document, namespace)
        answer = server.create(value)
        assert answer.ok, answer.message
        assert defaulted is not None
        assert answer.content["spec"] == defaulted["spec"]


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_example_is_refused_for_the_same_field_and_with_the_same_sentence(
    file: Path, server: Server, namespace: str
) -> None:
    for document in sendable(file):
        _, errors, value = judged(document, namespace)
        answer = server.create(value)
        assert answer.ok == (not errors), (answer.message, [str(error) for error in errors])
        rules = all_messages()
        for error in errors:
            assert error.path in answer.message, (error, answer.message)
            assert error.message not in rules or error.message in answer.message, (error, answer.message)


@cache
def all_messages() -> frozenset[str]:
    """The sentences of the rules: what an API server says word for word."""

    def of(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (rule["message"] for rule in node.get("x-kubernetes-validations", ()) if "message" in rule)
            for part in node.values():
                yield from of(part)
        elif isinstance(node, list):
            for part in node:
                yield from of(part)

    return frozenset(message for crd in crds() for message in of(crd))


def test_every_rule_of_the_schema_is_broken_by_some_bad_example() -> None:
    """So each sentence above was really said by the server."""
    said = {
        error.message
        for file in BAD
        for document in sendable(file)
        for error in Validator.packaged().validate(document)[1]
    }
    assert all_messages() - said == set()


ODD: tuple[Any, ...] = (None, True, -1, 10**7, "", "x", "0s", "a" * 5000, [], ["x", "x"], {}, {"x": 1})
SPOILED = ("everything-else", "container-in-full", "any-of", "cpu-variant", "slo-classes", "policy-in-full")


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def changed(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    result = copy.deepcopy(value)
    at = result
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = new
    return result


@pytest.mark.parametrize("name", SPOILED)
def test_server_and_validator_agree_when_any_field_of_a_good_example_is_spoiled(
    name: str, server: Server, namespace: str
) -> None:
    seen: list[Any] = []
    for document in sendable(EXAMPLES / "good" / f"{name}.yaml"):
        for path in places(document.value):
            if len(path) < 2 or path[0] != "spec":
                continue
            for new in ODD:
                spoiled = Document(file="f", line=1, value=changed(document.value, path, new), lines={})
                defaulted, errors, value = judged(spoiled, namespace)
                answer = server.create(value)
                if answer.ok != (not errors):
                    seen.append((path, str(new)[:30], answer.message, [str(error) for error in errors]))
                elif answer.ok and defaulted is not None and answer.content["spec"] != defaulted["spec"]:
                    seen.append((path, str(new)[:30], "other defaults", json.dumps(answer.content["spec"])))
    assert not seen


def test_the_server_finds_the_schemas_structural_and_takes_their_names(server: Server) -> None:
    for crd in crds():
        found = server.request("GET", f"{collection(crd)}/{crd['metadata']['name']}").content
        conditions = {each["type"]: each["status"] for each in found["status"]["conditions"]}
        assert conditions["NamesAccepted"] == "True", conditions
        assert conditions.get("NonStructuralSchema", "False") == "False", conditions


def columns(server: Server, path: str, name: str) -> dict[str, Any]:
    """What `kubectl get` shows of the object; others of its kind may be there, from other tests."""
    table = server.request("GET", path, accept="application/json;as=Table;v=v1;g=meta.k8s.io").content
    names = [each["name"] for each in table["columnDefinitions"] if not each["priority"]]
    shown = [each["priority"] == 0 for each in table["columnDefinitions"]]
    row = next(row for row in table["rows"] if row["object"]["metadata"]["name"] == name)
    cells = [cell for cell, is_shown in zip(row["cells"], shown, strict=True) if is_shown]
    return dict(zip(names, cells, strict=True))


FUNCTION: dict[str, Any] = {
    "apiVersion": "stoker.dev/v1alpha1",
    "kind": "GpuFunction",
    "metadata": {"name": "ocr"},
    "spec": {"container": {"image": "ocr:1"}, "gpu": {"memory": "4Gi"}, "slo": {"latency": "250ms"}},
}


def test_the_columns_of_a_function_are_those_that_a_user_looks_for(server: Server) -> None:
    namespace = server.namespace()
    function = placed(FUNCTION, namespace)
    assert server.create(function, dry_run=False).ok
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "ScaledToZero",
        "message": "It starts with the next request.",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
        "observedGeneration": 1,
    }
    status = {
        "observedGeneration": 1,
        "revision": {"current": "0123456789", "updating": "9876543210"},
        "conditions": [ready],
        "url": f"http://ocr.{namespace}.svc.cluster.local",
        "replicas": {"warm": 2, "hibernated": 0, "starting": 1, "draining": 0},
        "profile": [
            {
                "variant": "gpu",
                "product": "A100-40GB",
                "execP50Ms": 40.5,
                "execP99Ms": 61.5,
                "startMs": {"cold": 8000, "cached": 900.5, "hibernated": 80},
                "memoryMiB": 3800,
                "samples": 50,
            }
        ],
        "slo": {"attainment": 99.5, "window": "1h"},
        "cost": {"perHour": 1.5, "perThousandRequests": 0.25},
        "placements": [{"pod": "p", "variant": "gpu", "node": "n", "device": "GPU-1", "state": "warm"}],
    }
    document = {name: function[name] for name in ("apiVersion", "kind", "metadata")} | {"status": status}
    written = server.apply(document, part="/status")
    assert written.ok, written.message
    assert written.content["status"] == status
    shown = columns(server, collection(function), function["metadata"]["name"])
    shown.pop("Age")
    assert shown == {
        "Name": "ocr",
        "Ready": "True",
        "Reason": "ScaledToZero",
        "Warm": 2,
        "p99": 61.5,
        "SLO%": 99.5,
        "URL": f"http://ocr.{namespace}.svc.cluster.local",
    }
    assert (
        server.request("GET", f"/apis/stoker.dev/v1alpha1/namespaces/{namespace}/gpufunctions/ocr/scale").status == 404
    )


def test_the_status_of_a_function_node_comes_back_as_the_agent_wrote_it(server: Server) -> None:
    node, agent = "node-a", Who(name=AGENT, node="node-a")
    gpu = Device(
        id="GPU-1",
        kind=DeviceKind.GPU,
        product="A100-40GB",
        memory_mib=40960,
        healthy=False,
        reason="the driver reported XID 79: reboot the machine",
        mode=DeviceMode.TIME_SLICED,
        shares=4,
    )
    cpu = Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=8192, millicores=7500)
    resident = ResidentStatus(
        namespace="team-a",
        pod="ocr-0123456789-0",
        pod_uid="4f0c0c1e-1111-4000-8000-000000000000",
        function="ocr",
        revision="0123456789",
        variant=Variant.GPU,
        devices=("GPU-1",),
        state=ReplicaState.WARM,
        memory_mib=4096,
    )
    status = FunctionNodeStatus(
        agent=AgentStatus(pod="stoker-node-x", address="10.201.1.7", version="0.1.0"),
        devices=(
            device_status(gpu, used_memory_mib=4096, reason="XidError"),
            device_status(cpu),
            DeviceStatus(id="GPU-2", kind=DeviceKind.GPU, product="T4", memory_mib=16384, healthy=True),
        ),
        residents=(resident,),
        images=(ImageStatus(reference="registry.example/ocr:1", promised=True),),
        conditions=(
            NodeCondition(
                type="Ready",
                status="True",
                reason="Ready",
                message="The agent serves.",
                last_transition_time="2026-01-02T03:04:05Z",
                observed_generation=1,
            ),
        ),
        observed_generation=1,
    )
    document = function_node(node, server.make_node(node))
    made = server.create(document, who=Who(name=OPERATOR), dry_run=False)
    assert made.ok, made.message
    assert decode_status(made.content) is None
    written = server.apply(encode_status(node, status), who=agent, part="/status")
    assert written.ok, written.message
    assert decode_status(written.content) == status
    sick, cores, idle = devices_of(node, status)
    assert (sick.id, sick.node, sick.healthy, sick.shares, sick.mode) == ("node-a/GPU-1", node, False, 4, gpu.mode)
    assert sick.reason == gpu.reason
    assert (cores.millicores, idle.memory_mib) == (7500, 16384)
    shown = columns(server, collection(document), document["metadata"]["name"])
    shown.pop("Age")
    assert shown == {
        "Name": node, "GPUs": 2, "Healthy": 1, "Free": 1, "Warm": 1, "Ready": "True", "Agent": "stoker-node-x",
    }  # fmt: skip
    gone = encode_status(node, FunctionNodeStatus(agent=status.agent, devices=status.devices[:1]))
    again = server.apply(gone, who=agent, part="/status")
    assert decode_status(again.content) == FunctionNodeStatus(agent=status.agent, devices=status.devices[:1])


def test_the_policy_that_the_operator_makes_is_the_default_one(server: Server) -> None:
    made = server.create(default_policy_document())
    assert made.ok, made.message
    assert decode_policy(made.content, mode=Mode.KUBERNETES) == default_policy()
