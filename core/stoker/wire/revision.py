"""The revision of a function: a hash of the fields that shape its processes or pods, and of nothing else.

Fields at their default do not enter, so a field that a later Stoker adds changes no revision and restarts nothing.
"""

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


def _written(value: Any, leave_out: frozenset[str] = frozenset()) -> Any:
    """Plain data without defaults. An empty object stays: `cpuVariant: {}` is not the same as no cpuVariant."""
    if value is UNSET:
        return None
    if isinstance(value, Struct):
        return {
            field.encode_name: _written(part)
            for field in msgspec.structs.fields(value)
            if (part := getattr(value, field.name)) != field.default
            and part is not UNSET
            and field.encode_name not in leave_out
        }
    if isinstance(value, tuple):
        return [_written(item) for item in value]
    return value
