"""What an allocation policy is: who gets the next device, and whose replica gives way for it.

An idle replica gives way by value, the lowest first; one that is busy only when a turn is due. A policy sees values
only. Who may be asked to give way at all (idle, above its minReplicas, warm for a quantum) is decided in
stoker.control.candidates. A function without a replica waits for a turn as long as the quantum rule says (DESIGN 4);
under policies that look at tenants also until its own tenant does not hold more than its share.
"""

from typing import ClassVar, Protocol

from msgspec import Struct

from stoker.policies.eviction.interface import IdleResident


class Resident(IdleResident, frozen=True, kw_only=True):
    """A function that holds, or would hold, devices; `flow` is its key. Of idle replicas the longest idle counts."""

    namespace: str = ""
    weight: int = 1
    """Its fairShare, among the functions of its namespace."""
    namespace_weight: int = 1
    usage_us: float = 0.0
    """Device time that it held, decayed (PlanParams.usage_memory_us)."""
    lead_us: float = 0.0
    """`shares` only: device time over weight by which it is ahead of its namespace's virtual time, at least 0."""
    namespace_lead_us: float = 0.0
    """The same of its namespace among the namespaces."""
    devices: int = 0
    """`by_tenant` only: devices that its replicas hold, those on their way included."""
    tenant_devices: int = 0
    """`by_tenant` only: the same of its namespace."""
    tenant_gave_way_us: int = 0
    """`by_tenant` only: when a replica of its namespace gave way last; 0: never."""


class Wanting(Struct, frozen=True, kw_only=True):
    """A function that wants one more device and finds none free."""

    resident: Resident
    """As if it were resident."""
    since_us: int
    """Since when it has waited with no replica; now, where it has one."""
    entitled: bool
    """It wants a first replica, or one of minReplicas; False: it scales out."""
    patient: bool = False
    """It has no replica and has waited for as long as the quantum rule asks."""
    turn_us: int = 0
    """A turn: the quantum, or 3 times its start-up where that is longer."""
    tenant_holds: bool = False
    """Whether its namespace holds, or is given, a device that would do for it."""

    def is_own(self, other: Resident) -> bool:
        """Whether the other function is of the same namespace."""
        return self.resident.namespace == other.namespace


class AllocationPolicy(Protocol):
    """See the module. Stateless: clocks and leads are kept in the plan's memory."""

    name: ClassVar[str]
    ages: ClassVar[bool]
    """Whether value() reads the clock, the value of the last victim."""
    shares: ClassVar[bool]
    """Whether it needs leads."""
    by_tenant: ClassVar[bool]
    """Whether it needs to know who holds how many devices."""
    own_first: ClassVar[bool]
    """Whether idle replicas of the own namespace give way before all others."""
    asks: ClassVar[bool]
    """Whether limit(), may_take() and may_turn() look at more than the wanting function's own value."""
    fifo: ClassVar[bool]
    """Whether urgency() is since when a function waits."""

    def value(self, resident: Resident, now_us: int) -> float:
        """What keeping an idle replica of it is worth; comparable among residents of devices of one kind. Never
        negative.
        """

    def urgency(self, wanting: Wanting) -> float:
        """The least is served first: of wants of one rank, or under `shares` of all that anybody needs; ties: the one
        that waits longest.
        """

    def limit(self, wanting: Wanting, now_us: int) -> float:
        """Idle replicas whose value is this or more do not give way to it."""

    def may_take(self, wanting: Wanting, resident: Resident) -> bool:
        """Whether an idle replica below the limit gives way to it."""

    def greed(self, resident: Resident) -> float:
        """Whose busy replica gives way first when a turn is due: the greatest's."""

    def may_turn(self, wanting: Wanting, resident: Resident) -> bool:
        """Whether a replica that has had a quantum gives way to it though it is busy."""
