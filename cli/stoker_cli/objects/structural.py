"""Kubernetes' structural schemas: as JSON schema for validation, and their defaulting. Knows no particular resource.

What an API server does to an object before it validates is done here in the same order: nulls of fields that are not
nullable are dropped, then defaults are filled in where the parent is there.
"""

from typing import Any

Schema = dict[str, Any]
_KEPT = (
    "type",
    "required",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",  # a boolean beside minimum, as in draft 4
    "exclusiveMaximum",
    "minItems",
    "maxItems",
    "maxProperties",
)


def json_schema(schema: Schema) -> Schema:
    """The draft 4 schema that accepts what an API server accepts, and refuses unknown fields besides."""
    result = {key: schema[key] for key in _KEPT if key in schema}
    if schema.get("x-kubernetes-int-or-string"):
        result["type"] = ["integer", "string"]
    if schema.get("nullable"):
        result["type"] = [result["type"], "null"]
    if "items" in schema:
        result["items"] = json_schema(schema["items"])
    if "properties" in schema:
        result["properties"] = {name: json_schema(part) for name, part in schema["properties"].items()}
    if schema.get("type") == "object":
        more = schema.get("additionalProperties")
        result["additionalProperties"] = json_schema(more) if isinstance(more, dict) else False
    return result


def with_defaults(schema: Schema, value: Any) -> Any:
    """A deep copy of `value` with non-nullable nulls dropped and defaults filled in."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        more = schema.get("additionalProperties")
        result = {}
        for name, item in value.items():
            part = properties.get(name, more if isinstance(more, dict) else None)
            if item is None and part is not None and not part.get("nullable"):
                continue
            result[name] = with_defaults(part or {}, item)
        for name, part in properties.items():
            if name not in result and "default" in part:
                result[name] = with_defaults(part, part["default"])
        return result
    if isinstance(value, list):
        return [with_defaults(schema.get("items", {}), item) for item in value]
    return value


def repeated(schema: Schema, items: list[Any]) -> int | None:
    """Index of the first item that an `x-kubernetes-list-type` of set or map forbids; None when there is none."""
    kind = schema.get("x-kubernetes-list-type")
    if kind not in ("set", "map"):
        return None
    keys = schema.get("x-kubernetes-list-map-keys", ())
    seen = set()
    for index, item in enumerate(items):
        identity = tuple(item.get(key) for key in keys) if kind == "map" else item
        if identity in seen:
            return index
        seen.add(identity)
    return None
