"""What a schema error means, in one clause for a person. Knows jsonschema-rs errors and the patterns of crds/."""

import difflib
from typing import Any

from stoker.model.quantity import CPU_PATTERN, DURATION_PATTERN, MEMORY_PATTERN

_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
}
_QUANTITIES = {
    DURATION_PATTERN: ("a duration", "write a number and us, ms, s, m or h, as in 250ms"),
    MEMORY_PATTERN: ("an amount of memory", "write a number and Mi, Gi, Ti, M, G or T, as in 4Gi"),
    CPU_PATTERN: ("an amount of CPU", "write cores or millicores, as in 2 or 500m"),
}
_NAMES = {
    "^[a-z]([-a-z0-9]*[a-z0-9])?$": "use a-z, 0-9 and -, start with a letter and do not end with -",
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": "use a-z, 0-9 and -, and neither start nor end with -",
    "^/[^ ?#*]*$": "write a path that starts with / and has no query",
    "^/[^ ?#*]*[*]?$": "write a path that starts with /, with a * at its end only",
    "^[A-Za-z_][A-Za-z0-9_]*$": "use letters, digits and _, and do not start with a digit",
}


def shown(value: Any) -> str:
    """A value of the user in a message: short, and its type plain to see."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + "...")
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else str(value)


def nearest(word: str, known: list[str]) -> str:
    """`; did you mean X?` where a known word is near, else nothing."""
    if len(word) > 64:
        return ""
    lowered = {item.lower(): item for item in known}
    near = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return f"; did you mean {lowered[near[0]]}?" if near else ""


def clause(keyword: str, schema: dict[str, Any], value: Any) -> str:
    """Why `value` does not satisfy the keyword of its schema node."""
    limit = schema[keyword]
    if keyword == "type":
        return _wrong_type(schema, value)
    if keyword == "enum":
        known = [shown(item) if not isinstance(item, str) else item for item in limit]
        hint = nearest(value, known) if isinstance(value, str) else ""
        return f"{shown(value)} is not one of {', '.join(known)}{hint}"
    if keyword == "pattern":
        if limit in _QUANTITIES:
            what, how = _QUANTITIES[limit]
            return f"{shown(value)} is not {what}; {how}"
        return f"{shown(value)} is not valid; {_NAMES.get(limit, f'it must match {limit}')}"
    sentences = {
        "minLength": "must not be empty",
        "maxLength": f"is longer than {limit} characters",
        "minimum": f"must be at least {limit}, not {shown(value)}",
        "maximum": f"must be at most {limit}, not {shown(value)}",
        "exclusiveMinimum": f"must be more than {schema.get('minimum')}, not {shown(value)}",
        "exclusiveMaximum": f"must be less than {schema.get('maximum')}, not {shown(value)}",
        "minItems": "must not be empty",
        "maxItems": f"has more than {limit} entries",
        "maxProperties": f"has more than {limit} entries",
    }
    return sentences.get(keyword, f"{shown(value)} is not valid ({keyword})")


def _wrong_type(schema: dict[str, Any], value: Any) -> str:
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    wanted = " or ".join(_TYPES[kind] for kind in kinds)
    if schema.get("pattern") in _QUANTITIES:
        what, how = _QUANTITIES[schema["pattern"]]
        quotes = " in quotes" if isinstance(value, float) else ""
        return f"must be {what}{quotes}, not {shown(value)}; {how}"
    quotes = "; put it in quotes" if kinds == ["string"] and not isinstance(value, dict | list | None) else ""
    return f"must be {wanted}, not {shown(value)}{quotes}"
