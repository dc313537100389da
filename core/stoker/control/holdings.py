"""Who holds what, looked at once in a plan: what each pair could give, and who is on the devices of a class.

Values that stoker.control.candidates and stoker.control.sentences fill in and a draft keeps. Decides nothing.
"""

from collections.abc import Mapping

from msgspec import Struct

from stoker.control.planning import Pair
from stoker.model.function import Function
from stoker.model.replica import ReplicaStatus
from stoker.policies.allocation.interface import Resident


class Holder(Struct, frozen=True):
    """What a pair with replicas could give to anybody; looked at once in a plan, and again when it gave something."""

    function: Function
    idle: tuple[ReplicaStatus, ...]
    """Idle replicas, the longest idle first."""
    idle_spare: int
    """How many of them its own demand and minReplicas can spare."""
    homeless: tuple[ReplicaStatus, ...]
    """Those that no node has taken for too long: they hold what they cannot use, so nothing protects them."""
    resident: Resident
    """The pair, for the allocation policy."""
    value: float
    warm: tuple[ReplicaStatus, ...]
    """Warm replicas, the longest warm first, where its minReplicas can spare any."""
    warm_spare: int
    greed: float


Ranked = list[tuple[float, Pair]]


class Givers(Struct):
    """The pairs that could give something, by the class of the device that it is on. One for a whole plan."""

    idle: dict[int, Ranked] = {}
    """With idle or homeless replicas, the least valuable first."""
    busy: dict[int, Ranked] = {}
    """With warm replicas, the greediest first (its number is negative)."""
    first_ready_us: dict[int, int] = {}
    """The longest time that one of `busy` has been warm: since when."""
    entered: dict[Pair, list[tuple[dict[int, Ranked], int, float]]] = {}
    """Where each pair stands in them."""


class Holding(Struct, frozen=True):
    """The devices of some classes, and who is on them."""

    devices: int
    held: int
    """Healthy ones with somebody on them."""
    sound: int
    """Healthy ones."""
    sick: tuple[str, ...]
    """One clause for each that is not healthy."""
    on_cluster: bool
    on_nodes: Mapping[str, int]
    """How many by node."""
    holders: dict[str, tuple[str, ...]]
    """Names of the functions that hold them, by namespace, sorted."""
    holder_count: int
