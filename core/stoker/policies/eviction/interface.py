"""What an eviction policy is: a number that says how much an idle resident is worth keeping, and how long it stays.

The lowest value is evicted first, ties by who came first. A policy sees values only and remembers nothing: frequencies,
the clock and who is idle at all are kept by the caller, and who runs is never evicted.
"""

from typing import ClassVar, Protocol

from msgspec import Struct


class IdleResident(Struct, frozen=True, kw_only=True):
    """One idle copy of a function on a device, as it was when it became idle. Times in integer microseconds."""

    flow: str
    memory_mib: int
    """Device memory that it would free."""
    reload_us: int
    """What bringing it back costs, over finding it warm."""
    exec_us: int
    """Predicted execution time of one request."""
    loaded_us: int
    """When it became resident."""
    idle_since_us: int
    uses: int
    """Requests of its function since the function was last resident nowhere."""
    clock: float
    """The policy's clock (the value of the last victim on its device) when it was last used."""


class EvictionPolicy(Protocol):
    """See the module."""

    name: ClassVar[str]

    def value(self, resident: IdleResident, now_us: int) -> float:
        """What keeping it is worth; comparable among the idle residents of one device."""

    def keep_until_us(self, resident: IdleResident) -> int | None:
        """When it leaves although nobody needs its memory; None: never. Asked when it becomes idle."""
