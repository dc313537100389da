"""The table of values in docs/reference/chart.md: names, types and meanings from the schema, defaults from values.yaml.

What stands before its heading is written by hand.
"""

import json
from collections.abc import Iterator
from typing import Any

import yaml

_HEADING = "\n## Values\n"
_WHOLE = {"settings", "resources", "nodeSelector", "tolerations", "affinity", "podSecurityContext", "updateStrategy"}
"""Shown as one row, however much is in them."""
_LONGEST = 60


def page(text: str, schema: dict[str, Any], values: str) -> str:
    """The page with its table as the schema says."""
    rows = "".join(_rows(schema, yaml.safe_load(values), "", schema["definitions"]))
    return f"{text.partition(_HEADING)[0]}{_HEADING}\n| Value | Type | Default | Meaning |\n|---|---|---|---|\n{rows}"


def _rows(schema: dict[str, Any], values: Any, path: str, definitions: dict[str, Any]) -> Iterator[str]:
    for name, given in schema["properties"].items():
        part = definitions[given["$ref"].rpartition("/")[2]] | given if "$ref" in given else given
        value = values.get(name) if isinstance(values, dict) else None
        where = f"{path}.{name}".removeprefix(".")
        if name not in _WHOLE and part.get("properties") and value != {}:
            yield from _rows(part, value, where, definitions)
        elif name != "global":
            names = ", ".join(f"`{one}`" for one in part["properties"]) if name == "settings" else ""
            meaning = f"{part.get('description', '')}{': ' if names else ''}{names}"
            yield f"| `{where}` | {_type(part)} | {_default(value)} | {meaning} |\n"


def _type(part: dict[str, Any]) -> str:
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    return str(part.get("type", "any"))


def _default(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`" if len(text) <= _LONGEST else "see values.yaml"
