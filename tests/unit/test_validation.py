"""Every broken example gives exactly its one line; good ones get their defaults; the rest of a file keeps working."""

import time
from pathlib import Path
from typing import Any

import pytest

from stoker.model.device import Device, DeviceKind
from stoker_cli.launching import LauncherName, checked
from stoker_cli.objects.documents import Document, ObjectError, read_documents
from stoker_cli.objects.object_file import FileObjects, load_objects
from stoker_cli.objects.validation import MAX_ERRORS, Validator

pytestmark = pytest.mark.unit

EXAMPLES = Path(__file__).parents[1] / "contract" / "crd_examples"
BAD = sorted((EXAMPLES / "bad").glob("*.yaml"))
DEVICES = (
    Device(id="sim-0", kind=DeviceKind.GPU, product="A100-40GB", memory_mib=40960, simulated=True),
    Device(id="sim-1", kind=DeviceKind.GPU, product="L4-24GB", memory_mib=24576, simulated=True),
    Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=8192, millicores=4000),
)
SPEC: dict[str, Any] = {"container": {"command": ["x"]}, "gpu": {"memory": "4Gi"}, "slo": {"latency": "1s"}}


def load(data: bytes, file: str) -> FileObjects:
    return load_objects(
        data, file, Validator.packaged(), lambda function: checked(function, LauncherName.AUTO, DEVICES)
    )


def validate(spec: Any, metadata: Any = None) -> tuple[Any, list[ObjectError]]:
    value = {
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": "GpuFunction",
        "metadata": metadata or {"name": "f"},
        "spec": spec,
    }
    return Validator.packaged().validate(Document(file="f.yaml", line=1, value=value, lines={}))


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
@pytest.mark.timeout(2)
def test_a_bad_example_gives_exactly_its_one_line_and_spares_its_neighbours(file: Path) -> None:
    data = file.read_bytes()
    head = dict(
        line.removeprefix("# ").split(": ", 1) for line in data.decode("latin-1").splitlines()[:3] if ": " in line
    )
    path, fragment = head["expect"].split(" | ")
    loaded = load(data, file.name)
    assert len(loaded.errors) == 1, [str(error) for error in loaded.errors]
    (error,) = loaded.errors
    assert path in ("*", error.path)
    assert fragment in str(error)
    assert str(error).startswith(f"{file.name}:")
    assert str(error).isprintable()
    kept = {name for _, name in loaded.objects}
    if file.stem == "too-many-documents":
        assert len(kept) == 100
    else:
        assert kept == set(filter(None, head.get("keeps", "").split(", ")))


def test_there_are_more_than_forty_bad_examples() -> None:
    assert len(BAD) >= 40


def test_defaults_are_filled_in_where_their_parent_is_there() -> None:
    value, errors = validate(SPEC)
    assert not errors
    assert value["metadata"]["namespace"] == "default"
    spec = value["spec"]
    assert spec["timeout"] == "60s"
    assert spec["onPredictedMiss"] == ["Divert", "ServeLate"]
    assert spec["scaling"]["keepAlive"] == {"ttl": "5m"}
    assert spec["gpu"] == {"memory": "4Gi", "count": 1, "sharing": "Exclusive"}
    assert "cpuVariant" not in spec
    assert "readiness" not in spec["container"]


def test_null_is_the_same_as_left_out() -> None:
    value, errors = validate(SPEC | {"timeout": None, "scaling": {"minReplicas": None}})
    assert not errors
    assert value["spec"]["timeout"] == "60s"
    assert value["spec"]["scaling"]["minReplicas"] == 0


def test_the_given_document_is_not_changed() -> None:
    spec = {**SPEC, "scaling": {}}
    validate(spec)
    assert spec["scaling"] == {}


def test_each_wrong_field_is_told_once_and_not_without_bound() -> None:
    _, errors = validate(SPEC | {f"field{i}": 1 for i in range(50)})
    assert len(errors) == MAX_ERRORS
    _, errors = validate(SPEC | {"timeout": "x", "priority": "x", "fairShare": 0})
    assert {error.path for error in errors} == {"spec.timeout", "spec.priority", "spec.fairShare"}


def test_a_policy_has_its_defaults() -> None:
    documents, _ = read_documents(
        b"apiVersion: stoker.dev/v1alpha1\nkind: GpuPolicy\nmetadata: {name: default}\nspec: {}\n", "p.yaml"
    )
    value, errors = Validator.packaged().validate(documents[0])
    assert not errors
    assert value is not None
    assert value["spec"] == {
        "profile": "LatencyFirst",
        "admission": {"mode": "Enforce"},
        "memoryEnforcement": "Enforce",
        "prefetch": {"nodesPerFunction": 1},
    }


def test_two_hundred_functions_are_loaded_in_well_under_two_seconds() -> None:
    text = "---\n".join(
        (EXAMPLES / "good" / "everything-else.yaml").read_text().replace("name: f}", f"name: f{i}}}")
        for i in range(100)
    ).encode()
    began = time.perf_counter()
    loaded = [load(text, "a.yaml"), load(text, "b.yaml")]
    assert time.perf_counter() - began < 5
    assert [len(one.objects) for one in loaded] == [100, 100]
    assert not loaded[0].errors
