"""Rounds of plan() as records: of what was observed only what is new, of the answer the actions and digests.

The memory is not written with each round: it is what the last plan left, and its digest is. Functions are written by
their numbers.
"""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, get_type_hints

import msgspec
from msgspec import Raw

from stoker.control.planning import Observed, Plan, PlanMemory, PlanParams
from stoker.model.function import Function
from stoker.replay.journal import Journal
from stoker.replay.records import Memory, Planned

_PLAIN = msgspec.json.Encoder()
_SORTED = msgspec.json.Encoder(order="deterministic")
_HINTS = get_type_hints(Observed)
_FIELDS = tuple(name for name in Observed.__struct_fields__ if name not in ("functions", "memory"))


class RecordedRounds:
    """The rounds of one reconciler. A part of the journal."""

    def __init__(self) -> None:
        self._memory: PlanMemory | None = None
        self._params: PlanParams | None = None
        self._functions: dict[str, Function] | None = None
        self._written: dict[str, bytes] = {}

    def begin_file(self, journal: Journal) -> None:  # noqa: ARG002  the first round of a file writes all
        self._memory = self._params = self._functions = None
        self._written.clear()

    def write(self, journal: Journal, observed: Observed, now_us: int, params: PlanParams, result: Plan) -> None:
        """One round that was planned."""
        if observed.memory is not self._memory:
            journal.put(Memory(observed.memory))
        changed: dict[str, Raw] = {}
        if observed.functions is not self._functions:
            self._functions = observed.functions
            changed["functions"] = Raw(_PLAIN.encode([journal.ref(one) for one in observed.functions.values()]))
        for name in _FIELDS:
            line = _PLAIN.encode(_plain(name, getattr(observed, name)))
            if self._written.get(name) != line:
                self._written[name] = line
                changed[name] = Raw(line)
        new_params = None if params == self._params else params
        self._memory, self._params = result.memory, params
        journal.write(
            Planned(
                now_us,
                changed,
                result.next_due_us,
                digest(result.statuses),
                digest(result.memory),
                result.actions,
                new_params,
            )
        )


def observed_again(
    changed: dict[str, Raw], before: dict[str, Any], function_of: Callable[[int], Function]
) -> dict[str, Any]:
    """The fields of Observed, the memory aside: those of the round before where nothing new was written."""
    fields = dict(before)
    for name, raw in changed.items():
        if name == "functions":
            functions = [function_of(ref) for ref in msgspec.json.decode(raw, type=list[int])]
            fields[name] = {function.key: function for function in functions}
        elif name == "nodes":
            triples = msgspec.json.decode(raw, type=list[tuple[str, str, list[str]]])
            fields[name] = {(key, variant): frozenset(nodes) for key, variant, nodes in triples}
        else:
            fields[name] = msgspec.json.decode(raw, type=_HINTS[name])
    return fields


def digest(value: object) -> str:
    """Of a value of the model; equal for equal values, whatever the order of their dicts and sets."""
    return blake2b(_SORTED.encode(value), digest_size=8).hexdigest()


def _plain(name: str, value: Any) -> Any:
    """What JSON can hold of a field; sets in one order, so that equal ones are written equal."""
    if name == "nodes":
        return [(key, variant, sorted(nodes)) for (key, variant), nodes in value.items()]
    return sorted(value) if isinstance(value, frozenset) else value
