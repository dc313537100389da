"""What an allocation policy is: one number that says how much a resident function is worth keeping on its device.

The lowest value gives way first. A policy sees values only; who may be asked to give way at all (idle, above its
minReplicas) is decided in stoker.control.allocation, and so is the quantum rule, which holds under every policy.
"""

from typing import ClassVar, Protocol

from msgspec import Struct


class Resident(Struct, frozen=True, kw_only=True):
    """A function that holds, or would hold, device memory."""

    function: str
    frequency: int
    """Requests served since the function last had no replica."""
    start_us: int
    """What its next cold start costs over a warm one."""
    memory_mib: int
    """Device memory that a replica takes from others: the whole device for an exclusive one."""
    clock: float
    """The policy's clock when the function was last used."""


class AllocationPolicy(Protocol):
    """See the module. Stateless: the clock (the value of the last victim) is kept by the caller."""

    name: ClassVar[str]

    def value(self, resident: Resident) -> float:
        """What keeping it is worth; comparable among residents of devices of one kind. Never negative."""
