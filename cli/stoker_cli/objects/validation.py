"""Objects against the packaged CRDs, as an API server would: unknown fields, defaults, schema, list types, CEL rules.

Knows documents and schemas; what a valid object means is stoker.wire.crd's.
"""

import copy
from functools import cache
from importlib import resources
from pathlib import Path as FilePath
from typing import Any, Self

import jsonschema_rs
import yaml
from msgspec import Struct

from stoker_cli.objects.cel_rules import CelRules
from stoker_cli.objects.documents import Document, ObjectError, Path
from stoker_cli.objects.schema_words import clause, nearest, shown
from stoker_cli.objects.structural import Schema, json_schema, repeated, with_defaults

API_VERSION = "stoker.dev/v1alpha1"
MAX_ERRORS = 8
"""Errors told of one document: more help nobody."""

_CRDS = ("gpufunctions", "gpupolicies")
_LABEL = {"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
_TEXT_MAP = {"type": "object", "additionalProperties": {"type": "string"}}
# What an API server writes into metadata: accepted in a file that was read from a cluster, and without meaning here.
_OF_THE_SERVER = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "finalizers",
    "generateName",
    "managedFields",
    "ownerReferences",
    "selfLink",
)


class _Resource(Struct, frozen=True):
    """One kind, ready to validate."""

    schema: Schema
    json: Schema
    validator: jsonschema_rs.Draft4Validator
    rules: CelRules


class Validator:
    """Validates documents of the kinds that Stoker reads. Made once: compiling takes some milliseconds."""

    def __init__(self, crds: list[dict[str, Any]]) -> None:
        self._resources: dict[str, _Resource] = {}
        for crd in crds:
            names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
            schema = version["schema"]["openAPIV3Schema"]
            self._resources[names["kind"]] = _resource(schema, namespaced=crd["spec"]["scope"] == "Namespaced")

    @classmethod
    @cache
    def packaged(cls) -> Self:
        """The validator for the CRDs that this installation carries."""
        return cls([crd(name) for name in _CRDS])

    def validate(self, document: Document) -> tuple[dict[str, Any] | None, list[ObjectError]]:
        """The object with its defaults, or at least one error. `status` is dropped: it is never read from a file."""
        value = document.value
        if error := self._wrong_kind(document):
            return None, [error]
        resource = self._resources[value["kind"]]
        value = with_defaults(resource.schema, {name: part for name, part in value.items() if name != "status"})
        errors = [document.error(path, message) for path, message in _schema_errors(resource, value)]
        if not errors:
            errors = [document.error(path, message) for path, message in _repetitions(resource.schema, value, ())]
        if not errors:
            errors = [document.error(path, message) for path, message in resource.rules.broken(value)]
        return (None, errors[:MAX_ERRORS]) if errors else (value, [])

    def _wrong_kind(self, document: Document) -> ObjectError | None:
        value, known = document.value, list(self._resources)
        if not isinstance(value, dict):
            return document.error((), f"an object must be a mapping, not {shown(value)}")
        kind, version = value.get("kind"), value.get("apiVersion")
        for name, given in (("apiVersion", version), ("kind", kind)):
            if given is None:
                return document.error((name,), f"is required (apiVersion: {API_VERSION}, kind: {' or '.join(known)})")
            if not isinstance(given, str):
                return document.error((name,), f"must be text, not {shown(given)}")
        assert isinstance(kind, str)
        if kind not in self._resources:
            hint = nearest(kind, known) or f"; Stoker reads {' and '.join(known)}"
            return document.error(("kind",), f"{shown(kind)} is not a kind that Stoker reads{hint}")
        if version != API_VERSION:
            return document.error(("apiVersion",), f"{shown(version)} is not served; write {API_VERSION}")
        return None


def _resource(schema: Schema, *, namespaced: bool) -> _Resource:
    schema = copy.deepcopy(schema)
    schema["properties"].pop("status", None)
    rules = CelRules(schema)
    metadata = schema["properties"]["metadata"]
    metadata["required"] = ["name"]
    metadata["properties"] |= {"labels": _TEXT_MAP, "annotations": _TEXT_MAP}
    metadata["properties"] |= {"namespace": _LABEL | {"default": "default"}} if namespaced else {}
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    as_json = json_schema(schema)
    as_json["properties"]["metadata"]["properties"] |= {name: {} for name in _OF_THE_SERVER}
    # The regex engine of the API server (RE2) is linear in time; so is this one.
    options = jsonschema_rs.RegexOptions()
    return _Resource(schema, as_json, jsonschema_rs.Draft4Validator(as_json, pattern_options=options), rules)


def _schema_errors(resource: _Resource, value: dict[str, Any]) -> list[tuple[Path, str]]:
    """At most one message for each path, the first."""
    found: dict[Path, str] = {}
    for error in resource.validator.iter_errors(value):
        path: Path = tuple(error.instance_path)
        instance: Any = error.instance
        *above, keyword = map(str, error.schema_path)
        node: Any = resource.json
        for step in above:
            node = node[step]
        if keyword == "additionalProperties":
            known = list(node.get("properties", {}))
            for name in instance:
                if name not in known:
                    found.setdefault((*path, name), f"is not a known field{nearest(name, known)}")
        elif keyword == "required":
            for name in node["required"]:
                if name not in instance:
                    found.setdefault((*path, name), "is required")
        else:
            found.setdefault(path, clause(keyword, node, instance))
        if len(found) >= MAX_ERRORS:
            break
    return list(found.items())


def _repetitions(schema: Schema, value: Any, path: Path) -> list[tuple[Path, str]]:
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return [
            found
            for name, item in value.items()
            if name in properties
            for found in _repetitions(properties[name], item, (*path, name))
        ]
    if not isinstance(value, list) or "items" not in schema:
        return []
    index = repeated(schema, value)
    if index is not None:
        return [((*path, index), "is given twice; keep one")]
    return [found for at, item in enumerate(value) for found in _repetitions(schema["items"], item, (*path, at))]


def crd(plural: str) -> dict[str, Any]:
    """A CRD that this installation carries, by the plural of its kind."""
    document: dict[str, Any] = yaml.load(_crd_text(plural), Loader=yaml.CSafeLoader)
    return document


def _crd_text(name: str) -> str:
    """From the wheel, or in an editable install from the repository."""
    packaged = resources.files("stoker_cli") / "crds" / f"{name}.stoker.dev.yaml"
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    repository = FilePath(__file__).resolve().parents[3]
    return (repository / "crds" / f"{name}.stoker.dev.yaml").read_text(encoding="utf-8")
