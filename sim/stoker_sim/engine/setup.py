"""What is simulated besides the workload: devices, policies, and the form of the world. Values only.

All times are integer microseconds.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from stoker.control.planning import PlanParams
from stoker.errors import StokerError
from stoker.model.device import Device
from stoker.model.policy import DEFAULT_PROFILE, PROFILES, AdmissionMode
from stoker.slots.forecast import Rule

DEFAULT_DEVICE_CHOICE = PROFILES[DEFAULT_PROFILE].device_choice


class BadSetup(StokerError):  # noqa: N818  the name states the fact
    """The setup cannot be simulated with this workload. The text says why."""


class Form(StrEnum):
    """How functions come to devices."""

    STATIC = "static"
    """Every function is resident on each device that fits it, for ever; memory is not looked at."""
    LATE_BINDING = "late-binding"
    """Any request may go to any fitting device; what is not resident there is loaded first, and evicts others."""
    REPLICAS = "replicas"
    """The state machine of the platform: replicas are started and drained by plan(), cold requests are held."""


class Knowledge(StrEnum):
    """Where the predicted execution time that policies see comes from."""

    PROFILE = "profile"
    """The median of the function on the product, known beforehand."""
    LEARNED = "learned"
    """Measured while it runs, as in the agent: a prior first, then the mean of the last runs."""
    EXACT = "exact"
    """What the request will really take on its function's first product: no live system knows it."""


class Slowdowns(Struct, frozen=True):
    """How much longer an execution takes beside others on its device."""

    table: Mapping[str, Mapping[str, float]] = {}
    """By interference class of the one that suffers, then of the one beside it: a factor of at least 1."""
    unknown: float = 1.0
    """For pairs that the table lacks."""

    def factor(self, victim: str, beside: str) -> float:
        """For one neighbour; those of several are multiplied."""
        return self.table.get(victim, {}).get(beside, self.unknown)


class Memory(Struct, frozen=True, kw_only=True):
    """Late binding: how device memory is filled."""

    eviction: str = "lru"
    """Name of an eviction policy (stoker.policies.eviction)."""
    bus_mib_per_s: int = 12_000
    """Host to device, shared by all devices of a node. Ours: PCIe 3.0 x16 in practice; take it from a measurement."""
    host_mib: int | None = None
    """Host memory that evicted functions may stay in, for each node; None: it never runs out."""
    in_host_at_start: bool = False
    """Whether functions that can be hibernated are so at first: their first start is a swap, not a cold start."""
    copies: int | None = None
    """Copies of one function on one device at most; None: as many as memory and slots let in."""
    peer_mib_per_s: int | None = None
    """Between any two devices (NVLink): what is ready on another one comes from there, on a link of its own, and a copy
    that is not the only one is evicted first. None: there are no such links.
    """


class Delays(Struct, frozen=True, kw_only=True):
    """What the platform itself adds in the form of replicas."""

    probe_us: int = 50_000
    """Between readiness probes: a replica is found ready at the next one (node settings, probe_interval_s)."""
    create_us: int = 0
    """From the decision to start a replica until its process or container begins. Kubernetes, measured with the image
    present: 600_000 for an exclusive device, 1_200_000 for a shared one."""
    stop_us: int = 0
    """From the end of its last request until a drained replica has given its device back."""
    plan_us: int = 50_000
    """Least time between two plans (stoker_runtime.plan_rounds)."""
    load_plan_us: int = 0
    """Least time between a plan and one that is asked for by load alone (no wake, hold or state of a replica). Live: 0.
    Long traces with many functions simulate several times faster with a second, the plan's resync."""
    tell_us: int = 100_000
    """Least time between two load frames, unless a replica changed its state (stoker.wire.agent)."""


KUBERNETES_EXCLUSIVE = Delays(create_us=600_000)
"""The operator's delays on a node with exclusive devices, image present (bench.cluster.cold_start)."""
KUBERNETES_SHARED = Delays(create_us=1_200_000)
"""The same with the init container that waits for the reservation."""


class Setup(Struct, frozen=True, kw_only=True):
    """See the module."""

    devices: tuple[Device, ...]
    form: Form = Form.STATIC
    queueing: str = "fcfs"
    serve_late: bool = True
    """Whether the policy is wrapped as in the agent; False: as published."""
    tuning: Mapping[str, int] = {}
    """Constants of the queueing policy that are not as by default (stoker.policies.queueing.tuning)."""
    knowledge: Knowledge = Knowledge.PROFILE
    namespace_weights: Mapping[str, int] = {}
    slowdowns: Slowdowns | None = None
    """None: executions on one device do not slow each other."""
    memory: Memory = Memory()
    plan: PlanParams = PlanParams()
    """Replicas: allocation, pre-warming, keep-alive bound, quantum."""
    admission: AdmissionMode = AdmissionMode.ENFORCE
    """Replicas: OBSERVE predicts misses and acts on none."""
    admission_policy: Rule = Rule.SCHEDULE
    """Replicas: what an agent takes (stoker.slots.verdict)."""
    device_choice: str = DEFAULT_DEVICE_CHOICE
    """Replicas: which variant a request goes to first (stoker.policies.device_choice)."""
    prices: Mapping[str, float] = {}
    """Replicas: of devices by product and hour; the gateway prefers the cheapest that is on time. Empty: none are
    known.
    """
    namespace_caps: Mapping[str, float] = {}
    """Replicas: what the replicas of a namespace may cost an hour in all; functions have theirs in their definition."""
    hold_requests: int = 10_000
    """Replicas: requests that the gateway holds at most (gateway settings)."""
    delays: Delays = Delays()
    wall_us: int = 0
    """Microseconds since the epoch at time 0, for cron windows; 0: there are none."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.devices:
            raise BadSetup("there is no device; name at least one")
        ids = [device.id for device in self.devices]
        if len(set(ids)) < len(ids):
            raise BadSetup(f"two devices have one id: {', '.join(sorted(ids))}")
