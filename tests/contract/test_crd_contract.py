"""One verdict of the CRDs (schema, defaults, list types, CEL) and of stoker.wire on the same objects.

The schema's verdict is that of stoker_cli's validator; test_crd_real_server.py holds that one to the API server's.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from stoker.errors import InvalidObject
from stoker.model.function import KeepAlivePolicy
from stoker.model.policy import ADMISSION_POLICIES, DEFAULT_PROFILE, PROFILES
from stoker.model.quantity import CPU_PATTERN, DURATION_MAX_LENGTH, DURATION_PATTERN, MEMORY_PATTERN
from stoker.policies.allocation.registry import ALLOCATION
from stoker.policies.device_choice.registry import DEVICE_CHOICE
from stoker.policies.queueing.registry import POLICIES
from stoker.slots.forecast import Rule
from stoker.wire.crd import decode_function
from stoker.wire.function_node import Counts, FunctionNodeStatus
from stoker.wire.policy import decode_policy
from stoker_cli.field_reference import PAGES, page_with_fields
from stoker_cli.objects.documents import Document, read_documents
from stoker_cli.objects.structural import with_defaults
from stoker_cli.objects.validation import Validator

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
EXAMPLES = Path(__file__).parent / "crd_examples"
GOOD = sorted((EXAMPLES / "good").glob("*.yaml"))
BAD = sorted((EXAMPLES / "bad").glob("*.yaml"))
CRDS = {
    name: yaml.safe_load((ROOT / "crds" / f"{name}.stoker.dev.yaml").read_text())
    for name in ("gpufunctions", "gpupolicies", "functionnodes")
}
SCHEMAS = {
    crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for crd in CRDS.values()
}
IN_EMBEDDED_ONLY = ("embedded mode",)


def schema_verdict(document: Document) -> str:
    _, errors = Validator.packaged().validate(document)
    return str(errors[0]) if errors else ""


def decode_verdict(value: Any) -> str:
    """The decoder's own verdict on an object that nothing validated; what only embedded mode refuses is accepted."""
    if not isinstance(value, dict) or value.get("kind") not in ("GpuFunction", "GpuPolicy"):
        return "not an object of Stoker"
    defaulted = with_defaults(SCHEMAS[value["kind"]], value)
    try:
        decode_policy(defaulted) if value["kind"] == "GpuPolicy" else decode_function(defaulted)
    except InvalidObject as error:
        return "" if any(words in str(error) for words in IN_EMBEDDED_ONLY) else str(error)
    return ""


def documents_of(file: Path) -> list[Document]:
    documents, _ = read_documents(file.read_bytes(), file.name)
    return documents


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_a_good_example_is_accepted_by_schema_and_decoder(file: Path) -> None:
    documents, errors = read_documents(file.read_bytes(), file.name)
    assert not errors
    assert documents
    for document in documents:
        assert not schema_verdict(document)
        assert not decode_verdict(document.value)


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_schema_and_decoder_agree_on_every_object_of_a_bad_example(file: Path) -> None:
    for document in documents_of(file):
        by_schema, by_decoder = schema_verdict(document), decode_verdict(document.value)
        assert bool(by_schema) == bool(by_decoder), (by_schema, by_decoder)


def test_the_bad_examples_are_refused_by_the_schema_where_they_say_so() -> None:
    for file in BAD:
        if b"# by: schema" in file.read_bytes():
            assert any(schema_verdict(document) for document in documents_of(file)), file.name


ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 1.5, 3, 10**7, "", "x", "1", "0", "0s", "5ms", "5ms\n", "-5ms", "9999999h", "99h",
    "4Gi", "0Gi", "500m", "1.5", "a" * 5000, "a b", "A/b", "/x", "/x\n", "/x*", "Divert", "Cron", "GRPC", "Shared", [],
    ["x"], ["x", "x"], [None], {}, {"x": 1}, {"name": "x"},
)  # fmt: skip


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def changed(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    result = copy.deepcopy(value)
    at = result
    for step in path[:-1]:
        at = at[step]
    if new is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return result


@pytest.mark.timeout(60)
@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_schema_and_decoder_agree_when_any_field_of_a_good_example_is_spoiled(file: Path) -> None:
    seen: set[str] = set()
    for document in documents_of(file):
        for path in places(document.value):
            # Metadata but the name is the API server's; the decoder does not judge it.
            if not path or path[0] in ("status", "apiVersion", "kind") or (path[0] == "metadata" and len(path) < 2):
                continue
            if path[0] == "metadata" and path[1] != "name":
                continue
            for new in (*ODD, ...):
                value = changed(document.value, path, new)
                spoiled = Document(file=file.name, line=1, value=value, lines={})
                by_schema, by_decoder = schema_verdict(spoiled), decode_verdict(value)
                if bool(by_schema) != bool(by_decoder):
                    seen.add(f"{path} = {str(new)[:30]!r}: schema {by_schema!r}, decoder {by_decoder!r}")
    assert not seen


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from nodes(part, f"{path}.{name}".removeprefix("."))
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(schema["additionalProperties"], f"{path}.*")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


ALL_NODES = [(kind, path, node) for kind, schema in SCHEMAS.items() for path, node in nodes(schema)]


def test_every_text_list_and_map_of_the_schema_is_bounded() -> None:
    for kind, path, node in ALL_NODES:
        if path in ("apiVersion", "kind", "metadata"):
            continue
        where = f"{kind} {path}"
        if node.get("type") == "string" and "enum" not in node:
            assert "maxLength" in node, where
        if node.get("type") == "array":
            assert "maxItems" in node, where
        if "additionalProperties" in node:
            assert "maxProperties" in node, where


def test_the_schema_is_structural_and_every_rule_has_a_message_and_a_field_that_is_there() -> None:
    for kind, path, node in ALL_NODES:
        where = f"{kind} {path}"
        assert "type" in node or node.get("x-kubernetes-int-or-string"), where
        assert not {"anyOf", "oneOf", "allOf", "not", "$ref", "uniqueItems"} & node.keys(), where
        for key in node.get("x-kubernetes-list-map-keys", ()):
            assert key in node["items"]["required"], where
        for rule in node.get("x-kubernetes-validations", ()):
            assert rule["message"], where
            at = node
            for step in rule.get("fieldPath", "").split(".")[1:]:
                assert step in at["properties"], (where, rule)
                at = at["properties"][step]


def test_every_default_is_itself_valid_and_complete() -> None:
    """An API server refuses a CRD whose default breaks a rule, and evaluates rules on the default as written."""
    for kind, path, node in ALL_NODES:
        if isinstance(node.get("default"), dict):
            assert with_defaults(node, node["default"]) == node["default"], f"{kind} {path}"


def test_the_patterns_of_quantities_are_those_of_the_model() -> None:
    patterns = {node["pattern"] for _, _, node in ALL_NODES if "pattern" in node}
    assert {DURATION_PATTERN, MEMORY_PATTERN, CPU_PATTERN} <= patterns
    for _, path, node in ALL_NODES:
        if node.get("pattern") == DURATION_PATTERN:
            assert node["maxLength"] == DURATION_MAX_LENGTH, path


@pytest.mark.parametrize(("page", "plural"), PAGES.items())
def test_the_reference_page_says_of_every_field_what_the_schema_says(page: str, plural: str) -> None:
    text = (ROOT / "docs" / "reference" / f"{page}.md").read_text()
    assert text == page_with_fields(text, plural), "run `make docs`"


def test_the_policy_names_what_exists_and_nothing_else() -> None:
    spec = SCHEMAS["GpuPolicy"]["properties"]["spec"]["properties"]
    assert set(spec["queueing"]["enum"]) == set(POLICIES)
    assert set(spec["allocation"]["enum"]) == set(ALLOCATION)
    assert set(spec["deviceChoice"]["enum"]) == set(DEVICE_CHOICE)
    admission = spec["admission"]["properties"]["policy"]["enum"]
    assert admission == list(ADMISSION_POLICIES)
    assert set(admission) == set(Rule)
    assert set(spec["keepAlive"]["properties"]["policy"]["enum"]) == {policy.value for policy in KeepAlivePolicy}
    assert set(spec["profile"]["enum"]) == set(PROFILES)
    assert spec["profile"]["default"] == DEFAULT_PROFILE
    for profile in PROFILES.values():
        assert profile.queueing in spec["queueing"]["enum"]
        assert profile.admission_policy in admission
        assert profile.allocation in spec["allocation"]["enum"]
        assert profile.device_choice in spec["deviceChoice"]["enum"]
        assert profile.placement in spec["placement"]["properties"]["policy"]["enum"]
        assert profile.keep_alive in spec["keepAlive"]["properties"]["policy"]["enum"]
        assert profile.pre_warm in spec["preWarm"]["properties"]["policy"]["enum"]
        decide = (profile.queueing, profile.admission_policy, profile.allocation, profile.device_choice)
        assert ", ".join((*decide, profile.placement, profile.keep_alive)) in spec["profile"]["description"]


def shape(kind: Any) -> Any:
    """The field names of a struct, all the way down, as a schema would have them."""
    if isinstance(kind, msgspec.inspect.StructType):
        return {field.encode_name: shape(field.type) for field in kind.fields}
    if isinstance(kind, msgspec.inspect.VarTupleType):
        return [shape(kind.item_type)]
    if isinstance(kind, msgspec.inspect.EnumType):
        return sorted(kind.cls)
    return None


def shape_of_schema(node: dict[str, Any]) -> Any:
    if node["type"] == "object":
        return {name: shape_of_schema(part) for name, part in node["properties"].items()}
    if node["type"] == "array":
        return [shape_of_schema(node["items"])]
    return sorted(node["enum"]) if "enum" in node and "True" not in node["enum"] else None


def test_the_status_of_a_function_node_has_the_fields_of_its_schema() -> None:
    written = shape(msgspec.inspect.type_info(FunctionNodeStatus)) | {
        "counts": shape(msgspec.inspect.type_info(Counts))
    }
    assert written == shape_of_schema(SCHEMAS["FunctionNode"]["properties"]["status"])
