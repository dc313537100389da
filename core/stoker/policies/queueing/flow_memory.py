"""What a policy remembers of flows that may have nothing queued: bounded, whatever functions come and go.

The flow that was written least recently is forgotten first. Knows no requests and no policy.
"""

from typing import Generic, TypeVar

MOST = 4096
"""Flows that are remembered (ours): more functions than one agent serves in an hour."""

T = TypeVar("T")


class FlowMemory(Generic[T]):
    """One value per flow."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[str, T] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, flow: str, default: T) -> T:
        return self._values.get(flow, default)

    def put(self, flow: str, value: T) -> None:
        self._values.pop(flow, None)
        self._values[flow] = value
        if len(self._values) > MOST:
            del self._values[next(iter(self._values))]
