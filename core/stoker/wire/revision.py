"""The revision of a function: a hash of the fields that shape its processes or pods, and of nothing else.

Fields at their default do not enter, so a field that a later Stoker adds changes no revision and restarts nothing.
"""

from functools import cache
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from stoker import names
from stoker.wire.crd_types import GpuFunctionSpec

_LIVE_IN_CONTAINER = frozenset({"noWakePaths", "startupTimeout", "readiness"})
_LIVE_IN_CPU_VARIANT = frozenset({"concurrency", "maxReplicas", "readiness"})


def revision_of(spec: GpuFunctionSpec) -> str:
    """Ten hex digits that change exactly when a running replica no longer has the shape that is asked for."""
    shape = {
        "container": _written(spec.container, _LIVE_IN_CONTAINER),
        "gpu": _written(spec.gpu),
        "cpuVariant": _written(spec.cpu_variant, _LIVE_IN_CPU_VARIANT),
        "artifacts": _written(spec.artifacts),
    }
    shape = {name: part for name, part in shape.items() if part is not None}
    return names.revision_of(msgspec.json.encode(shape, order="deterministic"))


@cache
def _fields(kind: type[Struct]) -> tuple[tuple[str, str, Any], ...]:
    """Name, name when written, default. msgspec evaluates annotations anew at every call, which was most of the time
    that decoding a function took.
    """
    return tuple((field.name, field.encode_name, field.default) for field in msgspec.structs.fields(kind))


def _written(value: Any, leave_out: frozenset[str] = frozenset()) -> Any:
    """Plain data without defaults. An empty object stays: `cpuVariant: {}` is not the same as no cpuVariant."""
    if value is UNSET:
        return None
    if isinstance(value, Struct):
        return {
            written_name: _written(part)
            for name, written_name, default in _fields(type(value))
            if (part := getattr(value, name)) != default and part is not UNSET and written_name not in leave_out
        }
    if isinstance(value, tuple):
        return [_written(item) for item in value]
    return value
