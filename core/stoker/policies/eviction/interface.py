"""What an eviction policy is: a number that says how much an idle resident is worth keeping, and how long it stays.

The lowest value is evicted first, ties by who came first. A policy sees values only and remembers nothing: frequencies,
the clock and who is idle at all are kept by the caller, and who runs is never evicted. The same objects decide in three
places: keep-alive of replicas in plan() (stoker.control.keeping), which idle replica gives way
(stoker.policies.allocation), and residency in the simulator's late binding.
"""

from typing import ClassVar, Protocol

from msgspec import Struct

from stoker.model.function import KeepAlivePolicy
from stoker.policies.prewarm.interface import WAIT_WEIGHT, ArrivalHistory


class IdleResident(Struct, frozen=True, kw_only=True):
    """One idle copy of a function on a device, as it was when it became idle. Times in integer microseconds."""

    flow: str
    memory_mib: int
    """Device memory that it would free."""
    share: float = 1.0
    """Part of its device that it keeps from others, in (0, 1]: 1 for an exclusive one."""
    reload_us: int
    """What bringing it back costs, over finding it warm."""
    exec_us: int
    """Predicted execution time of one request."""
    latency_us: int = 0
    """Its latency objective; 0: it has none."""
    ttl_us: int = 0
    """Its function's keepAlive.ttl."""
    loaded_us: int
    """When it became resident, or `uses` began to count."""
    idle_since_us: int
    uses: int
    """Requests of its function since the function was last resident nowhere."""
    clock: float
    """The policy's clock (the value of the last victim on its device) when it was last used."""
    episode: int = 0
    """A number that stays while it is idle and is another the next time: what a policy that draws draws by."""
    history: ArrivalHistory | None = None
    """Idle times of its function; None where nobody keeps them (see `learns`)."""
    comes_back: bool = False
    """Whether the platform makes it warm again before its next request is expected."""
    brought_back: bool = False
    """Whether it was made so, or for a request that did not come: it has served nobody."""


class EvictionParams(Struct, frozen=True, kw_only=True):
    """What a policy is made with; each takes what it knows and ignores the rest."""

    seed: int = 0
    """Of a policy that draws."""
    ttl_us: int | None = None
    """Instead of the functions' own ttl; None: theirs."""
    wait_weight: int = WAIT_WEIGHT
    """Of the policies that weigh idleness against waiting."""


DEFAULTS = EvictionParams()


class EvictionPolicy(Protocol):
    """See the module."""

    name: ClassVar[str]
    keep_alive: ClassVar[KeepAlivePolicy | None]
    """As a function or a GpuPolicy names it; None: it is no keep-alive policy."""
    ages: ClassVar[bool]
    """Whether value() reads the clock."""
    fades: ClassVar[bool]
    """Whether value() of one resident is another one as time passes. Where it is not, who asks may keep it."""
    learns: ClassVar[bool]
    """Whether it needs the history of arrivals."""
    draws: ClassVar[bool]
    """Whether keep_until_us() is drawn anew for each episode."""

    def value(self, resident: IdleResident, now_us: int) -> float:
        """What keeping it is worth; comparable among the idle residents of one device. Never negative."""

    def keep_until_us(self, resident: IdleResident) -> int | None:
        """When it leaves although nobody needs its memory; None: never. Asked when it becomes idle."""
