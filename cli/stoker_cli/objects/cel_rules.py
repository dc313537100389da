"""The `x-kubernetes-validations` of a structural schema, compiled once and evaluated on many objects.

Standard CEL by the library common-expression-language; `self` is the value that the rule stands at.
"""

from collections.abc import Iterator
from typing import Any

import cel
from msgspec import Struct

from stoker_cli.objects.documents import Path
from stoker_cli.objects.structural import Schema


class _Rule(Struct, frozen=True):
    program: Any
    message: str
    field: Path
    """Where the error is shown, from the value that the rule stands at."""


class CelRules:
    """The rules of one schema node and of all nodes below it."""

    def __init__(self, schema: Schema) -> None:
        self._rules = tuple(
            _Rule(
                cel.compile(rule["rule"]),
                rule["message"],
                tuple(rule.get("fieldPath", "").split(".")[1:]),
            )
            for rule in schema.get("x-kubernetes-validations", ())
        )
        properties = {name: CelRules(part) for name, part in schema.get("properties", {}).items()}
        self._properties = {name: part for name, part in properties.items() if part}
        more = schema.get("additionalProperties")
        self._more = CelRules(more) if isinstance(more, dict) else None
        self._items = CelRules(schema["items"]) if "items" in schema else None

    def __bool__(self) -> bool:
        """Whether there is any rule here or below."""
        return bool(self._rules or self._properties or self._more or self._items)

    def broken(self, value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
        """Path and message of each rule that `value`, which has passed its schema, does not satisfy."""
        if self._rules:
            context = cel.Context({"self": value})
            for rule in self._rules:
                if verdict := _verdict(rule, context):
                    yield (*path, *rule.field), verdict
        if isinstance(value, dict):
            for name, part in self._properties.items():
                if name in value:
                    yield from part.broken(value[name], (*path, name))
            if self._more:
                for name, item in value.items():
                    yield from self._more.broken(item, (*path, name))
        elif isinstance(value, list) and self._items:
            for index, item in enumerate(value):
                yield from self._items.broken(item, (*path, index))


def _verdict(rule: _Rule, context: cel.Context) -> str | None:
    """The message of a rule that does not hold; None for one that holds."""
    try:
        return None if rule.program.execute(context) is True else rule.message
    except (RuntimeError, TypeError, ValueError) as error:
        # An API server refuses the object too when a rule cannot be evaluated.
        return f"{rule.message} (the rule could not be evaluated: {error})"
