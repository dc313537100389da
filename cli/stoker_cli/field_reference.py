"""Writes the tables of fields in docs/reference from crds/: `python -m stoker_cli.field_reference docs/reference`.

What stands before the first heading "Fields of ..." of a page is written by hand; all after it comes from here. A test
holds page and schema together.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from stoker.model.quantity import CPU_PATTERN, DURATION_PATTERN, MEMORY_PATTERN
from stoker_cli.objects.structural import Schema
from stoker_cli.objects.validation import crd

PAGES = {"gpufunction": "gpufunctions", "gpupolicy": "gpupolicies", "functionnode": "functionnodes"}
"""Page to the plural of its kind."""
_HEADING = "\n## Fields of "
_QUANTITIES = {DURATION_PATTERN: "duration", MEMORY_PATTERN: "memory", CPU_PATTERN: "cores"}


def page_with_fields(text: str, plural: str) -> str:
    """The page with its tables as the schema of that kind says."""
    schema = crd(plural)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    tables = [_table(part, schema["properties"][part]) for part in ("spec", "status") if part in schema["properties"]]
    return text.partition(_HEADING)[0] + "".join(table for table in tables if table)


def _table(name: str, schema: Schema) -> str:
    rows = list(_rows(schema, ""))
    if not rows:
        return ""
    head = "| Field | Type | Default | Meaning |\n|---|---|---|---|\n"
    return f"{_HEADING}{name}\n\n{head}" + "".join(rows)


def _rows(schema: Schema, path: str) -> Iterator[str]:
    required = schema.get("required", ())
    for name, part in schema.get("properties", {}).items():
        field = f"{path}.{name}".removeprefix(".")
        default = "**required**" if name in required else _default(part)
        yield f"| `{field}` | {_type(part)} | {default} | {part.get('description', '')} |\n"
        items = part.get("items", {})
        if items.get("type") == "object":
            yield from _rows(items, f"{field}[]")
        yield from _rows(part, field)
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        yield f"| `{path}.*` | {_type(more)} |  | {more.get('description', '')} |\n"


def _default(schema: Schema) -> str:
    value = schema.get("default")
    if value is None or isinstance(value, dict):
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _type(schema: Schema) -> str:
    if "enum" in schema and schema["type"] == "string":
        return " \\| ".join(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        named = _QUANTITIES[schema["pattern"]]
        return named if named == "cores" else f"{named} or bytes"
    kind: str = schema["type"]
    if kind == "string":
        return _QUANTITIES.get(schema.get("pattern", ""), "text")
    if kind == "array":
        return "list of objects" if schema["items"]["type"] == "object" else f"list of {_type(schema['items'])}"
    if kind in ("integer", "number"):
        return _range(schema, kind)
    return {"boolean": "bool", "object": "object"}[kind]


def _range(schema: Schema, kind: str) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if high is None:
        return "whole number" if kind == "integer" else "number"
    if kind == "integer":
        return f"{low}..{high}"
    below = "<" if schema.get("exclusiveMinimum") else "<="
    above = "<" if schema.get("exclusiveMaximum") else "<="
    return f"number, {low} {below} x {above} {high}"


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0])
    for page, plural in PAGES.items():
        file = folder / f"{page}.md"
        file.write_text(page_with_fields(file.read_text(encoding="utf-8"), plural), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
