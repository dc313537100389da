"""What plan() reads, what it orders, and what it must remember between two plans. Values only.

All times are microseconds on one monotonic clock. A pair is one (function key, variant): what is scaled.
"""

from msgspec import Struct

from stoker.cost.costs import NO_COSTS, Bounds, Costs
from stoker.cost.rhythm import NO_RHYTHM, Rhythm
from stoker.model.demand import Demand
from stoker.model.device import Device, Reservation
from stoker.model.function import Function, KeepAlivePolicy, PreWarmPolicy, Sharing, Variant
from stoker.model.policy import ScalingPolicy
from stoker.model.replica import ReplicaSpec, ReplicaStatus
from stoker.model.status import FunctionStatus
from stoker.policies.prewarm.interface import WAIT_WEIGHT, ArrivalHistory
from stoker.reasons import Reason
from stoker.sizing.arrival_rate import ArrivalRates
from stoker.sizing.service_time import ServiceTime
from stoker.sizing.steady import Steady

Pair = tuple[str, Variant]


class Start(Struct, frozen=True, kw_only=True, tag=True):
    """Reserve and start one replica; `function` is the function as of the revision to start."""

    spec: ReplicaSpec
    reservations: tuple[Reservation, ...]
    """Kubernetes: provisional, until the agent has said which devices the pod really got."""
    function: Function
    avoid_nodes: tuple[str, ...] = ()
    """Kubernetes: nodes where pods of the function got unfit devices lately, or that cost more than it was meant to
    cost while it is under a bound. It should not go there now.
    """


class Drain(Struct, frozen=True, kw_only=True, tag=True):
    """Stop dispatch to a replica, let its in-flight requests end, then stop it."""

    replica_id: str
    reason: Reason
    for_function: str | None = None
    """The waiting function that gets its device."""


class Stop(Struct, frozen=True, kw_only=True, tag=True):
    """Stop a replica that is drained but that nobody is stopping."""

    replica_id: str


class Kill(Struct, frozen=True, kw_only=True, tag=True):
    """End a replica at once: it is broken, what it has in flight fails."""

    replica_id: str
    reason: Reason
    detail: str = ""


Action = Start | Drain | Stop | Kill


class Failure(Struct, frozen=True, kw_only=True):
    """A replica that ended without being asked to, or could not be started."""

    function: str
    variant: Variant
    revision: str
    replica_id: str
    at_us: int
    reason: Reason
    detail: str
    """One sentence, with the last lines of its output where there are any."""
    warm_us: int | None = None
    """How long it had been warm; None: it was never ready."""
    amends: bool = False
    """True: plan() killed it and has counted the failure; only the detail is new."""


class BackOff(Struct, frozen=True, kw_only=True):
    """Consecutive failures of one pair at one revision."""

    revision: str
    failures: int
    at_us: int
    """The last of them."""
    not_before_us: int
    reason: Reason
    detail: str


class FailedRevision(Struct, frozen=True, kw_only=True):
    """A revision that was given up: not tried again until the spec's revision changes."""

    revision: str
    detail: str


class Usage(Struct, frozen=True, kw_only=True):
    """Decayed replica-microseconds of a pair up to `at_us`, and the replicas that it has held since."""

    value_us: float = 0.0
    at_us: int = 0
    held: int = 0


class Credit(Struct, frozen=True, kw_only=True):
    """What allocation by value remembers of a pair: uses since it had no replica, and the clock at its last use."""

    frequency: int = 0
    since_us: int = 0
    """When they began to count: the first start since."""
    clock: float = 0.0
    served: dict[str, tuple[int, int]] = {}
    """Per live replica its start and its count of served requests, as last seen (ids are used again)."""


class NodeBackOff(Struct, frozen=True, kw_only=True):
    """A node where pods of one function got devices that they may not use."""

    failures: int
    at_us: int
    """The last of them."""
    not_before_us: int
    landings: int = 1
    """Of them in this try: each pod blocks its device and the next one is started at once."""
    counted: dict[str, int] = {}
    """The unfit replicas that are counted, with their starts (ids are used again)."""


class Sizing(Struct, frozen=True, kw_only=True):
    """What scaling by objective remembers of a pair while it has replicas or requests (stoker.control.slo_scaling)."""

    rates: ArrivalRates
    service: ServiceTime | None = None
    """Its execution times, smoothed; None: they are not known yet."""
    steady: Steady | None = None
    """None: nothing is known of its execution times yet."""


class FunctionMemory(Struct, frozen=True, kw_only=True):
    """What plan() remembers of one function."""

    uid: str = ""
    """Of the function that it is about: one that is made anew under the same name has no past."""
    target: str = ""
    """The spec's revision as last seen."""
    last_ready: Function | None = None
    """The function as of the last revision whose primary variant became ready: what a roll-back returns to."""
    trying_since_us: int | None = None
    """First start of an update that is not ready yet; progressDeadline counts from here (waiting for a GPU is
    not the revision's fault)."""
    failed: FailedRevision | None = None
    back_off: dict[Variant, BackOff] = {}
    waiting_since_us: dict[Variant, int] = {}
    """Since when a variant has had demand, no replica, and no device to start one on."""
    gave_way_us: dict[Variant, int] = {}
    """When a variant last gave way: the wakes until then were answered, and do not bring it back."""
    usage: dict[Variant, Usage] = {}
    credit: dict[Variant, Credit] = {}
    unfit_on: dict[str, NodeBackOff] = {}
    """By node."""
    arrivals: ArrivalHistory = ArrivalHistory()
    """Of the primary variant; kept only while a policy of the function learns from it."""
    sizing: dict[Variant, Sizing] = {}
    rhythm: Rhythm = NO_RHYTHM
    """Kept only while a bound on an hour's cost is on the function."""


class Level(Struct, frozen=True):
    """Virtual times of the members of one level (namespaces, or the functions of one namespace), in microseconds of
    device time over weight. stoker.control.shares has the rules.
    """

    virtual_us: float = 0.0
    """The least time of a member that lacks a device, and never less than it was."""
    times_us: dict[str, float] = {}
    """Of a member that is not named: the virtual time."""
    lacking: frozenset[str] = frozenset()
    """Those that lacked a device after the last plan."""


class Shares(Struct, frozen=True, kw_only=True):
    """What allocation by shares remembers of all devices of one kind."""

    at_us: int
    """Until when device time is charged."""
    namespaces: Level = Level()
    functions: dict[str, Level] = {}
    """By namespace; members are keys."""


class Claim(Struct, frozen=True, kw_only=True):
    """Devices that are being freed for one waiting pair; nobody else gets them until it starts or stops wanting."""

    function: str
    variant: Variant
    devices: tuple[str, ...]
    memory_mib: int
    millicores: int
    sharing: Sharing


class PlanMemory(Struct, frozen=True, kw_only=True):
    """All that plan() remembers. Losing it costs fairness and a roll-back target, never correctness."""

    functions: dict[str, FunctionMemory] = {}
    claims: tuple[Claim, ...] = ()
    clocks: dict[Variant, float] = {}
    """Greedy-dual clock per variant: the value of the last victim."""
    shares: dict[Variant, Shares] = {}
    """Only while the allocation policy needs them, and somebody lacks a device or is ahead."""


class Observed(Struct, frozen=True, kw_only=True):
    """The world as seen at one instant."""

    functions: dict[str, Function]
    devices: tuple[Device, ...]
    """Kubernetes: of all nodes, their ids `NODE/ID`."""
    reservations: tuple[Reservation, ...] = ()
    """Kubernetes: those of the Start until the agent knows the pod's real devices, then those."""
    replicas: tuple[ReplicaStatus, ...] = ()
    """Kubernetes: pods of any phase. `spec.devices` are the devices that a replica really has, empty until known."""
    demand: Demand = {}
    queued: dict[str, dict[Variant, int]] = {}
    start_us: dict[str, dict[Variant, int]] = {}
    """Measured start-up by pair, cold to warm; a pair without an entry was never measured."""
    exec_us: dict[str, dict[Variant, int]] = {}
    """Measured execution times of pairs with replicas; a pair without an entry was never measured."""
    service: dict[str, dict[Variant, ServiceTime]] = {}
    """The same in full, of pairs with replicas or demand."""
    failures: tuple[Failure, ...] = ()
    """Failures since the last plan."""
    leaving: frozenset[str] = frozenset()
    """Ids of replicas that are being drained or stopped by somebody; also ids that may not be used again yet."""
    killed: frozenset[str] = frozenset()
    """Those of `leaving` that are being killed."""
    memory: PlanMemory = PlanMemory()
    wall_us: int = 0
    """Microseconds since the epoch at this instant, for cron windows; 0: nobody knows, and there are none."""
    cross_tenant: frozenset[str] = frozenset()
    """Namespaces that may share a device with one another."""
    max_gpus: dict[str, int] = {}
    """GPUs that the replicas of a namespace may hold in all; a namespace without an entry has no bound."""
    namespace_weights: dict[str, int] = {}
    """Shares of namespaces under contention; 1 without an entry."""
    nodes: dict[Pair, frozenset[str]] = {}
    """Nodes that the pods of a pair may go to (GpuPolicy.pools); a pair without an entry may go to any."""
    costs: Costs = NO_COSTS


class PlanParams(Struct, frozen=True, kw_only=True):
    """Constants of the platform, not of a function."""

    allocation: str = "greedy-dual"
    quantum_us: int = 10_000_000
    """Turn under constant backlog (DESIGN 4)."""
    start_prior_us: int = 5_000_000
    """Assumed start-up of a function that never started, where a value is needed."""
    usage_memory_us: int = 120_000_000
    """Time constant of the exponential decay of replica-seconds."""
    back_off_us: int = 500_000
    back_off_max_us: int = 30_000_000
    healthy_us: int = 60_000_000
    """A replica that was warm this long wipes the record of failures."""
    unfit_back_off_us: int = 10_000_000
    """Before a pod goes again to a node where the last one got an unfit device (nothing while that one blocks it)."""
    unfit_back_off_max_us: int = 600_000_000
    max_crashes: int = 3
    """Failed starts of an update before it is given up."""
    wake_us: int = 1_000_000
    """Least time that a wake counts, also with a keep-alive of zero."""
    pre_warm: PreWarmPolicy = PreWarmPolicy.NONE
    """Of functions that do not set scaling.preWarm."""
    keep_alive: KeepAlivePolicy = KeepAlivePolicy.FIXED_TTL
    """Of functions that do not set scaling.keepAlive.policy."""
    scaling: ScalingPolicy = ScalingPolicy.SLO
    seed: int = 0
    """Of a policy that draws."""
    wait_weight: int = WAIT_WEIGHT
    """Of policies that weigh idleness against waiting."""
    keep_alive_max_us: int | None = None
    """No idle replica is kept longer, whatever its function asks; None: unbounded."""
    resync_us: int = 1_000_000
    """Longest time between two plans while anything runs or waits."""


class Plan(Struct, frozen=True, kw_only=True):
    """What to do now, in order, and when to plan again at the latest."""

    actions: tuple[Action, ...]
    statuses: dict[str, FunctionStatus]
    memory: PlanMemory
    bounds: Bounds = {}
    """What requests may not have now for what it costs; functions without a bound have no entry."""
    next_due_us: int
