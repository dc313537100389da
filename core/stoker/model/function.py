"""A GpuFunction as the platform sees it: quantities are integers, every default is filled in.

Decoded from the custom resource by stoker.wire.crd, which also says which fields shape the process or
pod (they make the revision) and which act live. DESIGN section 3 is the source of names and meanings.
"""

from enum import StrEnum
from functools import cached_property

from msgspec import Struct

from stoker.model.container import Artifact, ContainerSpec, EnvVar, Probe

__all__ = [
    "Access",
    "ContainerSpec",
    "CostBounds",
    "CpuVariant",
    "EnvVar",
    "Function",
    "FunctionSpec",
    "GpuOption",
    "KeepAlivePolicy",
    "Measure",
    "OnMiss",
    "PreWarm",
    "PreWarmPolicy",
    "PreWarmWindow",
    "Priority",
    "Probe",
    "QueueBounds",
    "Scaling",
    "Sharing",
    "Slo",
    "Variant",
    "Visibility",
]


class Variant(StrEnum):
    """The two forms of a function."""

    GPU = "gpu"
    CPU = "cpu"


class Sharing(StrEnum):
    """Whether a replica wants its device alone."""

    EXCLUSIVE = "Exclusive"
    SHARED = "Shared"


class Measure(StrEnum):
    """What `slo.latency` bounds: the whole answer, or its first byte."""

    COMPLETE = "Complete"
    FIRST_BYTE = "FirstByte"


class OnMiss(StrEnum):
    """What to try, in order, for a request that is predicted to miss its objective."""

    DIVERT = "Divert"
    SERVE_LATE = "ServeLate"
    REFUSE = "Refuse"


class Priority(StrEnum):
    """Who gives way to whom."""

    BATCH = "Batch"
    STANDARD = "Standard"
    CRITICAL = "Critical"

    @property
    def level(self) -> int:
        """0 gives way first."""
        return _LEVELS[self.value]


_LEVELS = {priority.value: level for level, priority in enumerate(Priority)}


class KeepAlivePolicy(StrEnum):
    """How long an idle replica stays (stoker.policies.eviction)."""

    FIXED_TTL = "FixedTTL"
    SKI_RENTAL = "SkiRental"
    SKI_RENTAL_RANDOM = "SkiRentalRandom"
    GREEDY_DUAL = "GreedyDual"
    HYBRID_HISTOGRAM = "HybridHistogram"
    HAZARD_RATE = "HazardRate"
    LIGHT_FIRST = "LightFirst"
    LRU = "LRU"


class PreWarmPolicy(StrEnum):
    """What is made warm before requests come."""

    NONE = "None"
    HISTOGRAM = "Histogram"
    HAZARD_RATE = "HazardRate"
    CRON = "Cron"


class Visibility(StrEnum):
    """Who may call a function: its namespace, the cluster, everyone who reaches its hostnames."""

    NAMESPACE = "Namespace"
    CLUSTER = "Cluster"
    PUBLIC = "Public"


class GpuOption(Struct, frozen=True, kw_only=True):
    """One acceptable kind of device; several stand in order of preference."""

    memory_mib: int
    products: tuple[str, ...] = ()
    """Acceptable products, as in `A100-40GB`; empty means any."""
    count: int = 1
    sharing: Sharing = Sharing.EXCLUSIVE
    resource_name: str = "nvidia.com/gpu"
    """Kubernetes: the extended resource that its pods request."""


class CpuVariant(Struct, frozen=True, kw_only=True):
    """The CPU form. Its presence permits diversion."""

    container: ContainerSpec
    concurrency: int = 1
    max_replicas: int = 10


class CostBounds(Struct, frozen=True, kw_only=True):
    """What a function may cost, in the administrator's currency; None is no bound."""

    per_hour: float | None = None
    per_thousand_requests: float | None = None


class Slo(Struct, frozen=True, kw_only=True):
    """The objective. It orders, admits, places, scales and is scored; it never kills."""

    latency_us: int
    measure: Measure = Measure.COMPLETE
    percentile: float = 99.0
    cold_latency_us: int | None = None
    """Objective of a request that finds no warm replica; None means the timeout."""
    classes: dict[str, int] = {}
    """Latency objectives by the name that a client sends in `Stoker-Class`."""
    cost: CostBounds = CostBounds()


class QueueBounds(Struct, frozen=True, kw_only=True):
    max_requests: int = 1000
    max_bytes: int = 64 * 2**20


class PreWarmWindow(Struct, frozen=True, kw_only=True):
    """Replicas that are warm for a while from each time that a cron expression names."""

    cron: str
    """Five fields, UTC."""
    duration_us: int
    replicas: int


class PreWarm(Struct, frozen=True, kw_only=True):
    policy: PreWarmPolicy = PreWarmPolicy.NONE
    windows: tuple[PreWarmWindow, ...] = ()
    """With Cron only, and then at least one."""


class Access(Struct, frozen=True, kw_only=True):
    visibility: Visibility = Visibility.CLUSTER
    allow: tuple[str, ...] = ()
    """Further callers: a namespace, or NAMESPACE/SERVICEACCOUNT."""
    hostnames: tuple[str, ...] = ()


class Scaling(Struct, frozen=True, kw_only=True):
    min_replicas: int = 0
    max_replicas: int = 10
    concurrency: int = 1
    keep_alive: KeepAlivePolicy | None = None
    """None: what the GpuPolicy says."""
    keep_alive_ttl_us: int = 300_000_000
    pre_warm: PreWarm | None = None
    """None: what the GpuPolicy says."""


class FunctionSpec(Struct, frozen=True, kw_only=True):
    container: ContainerSpec
    gpu: tuple[GpuOption, ...] = ()
    """Acceptable devices in order of preference; empty for a function that runs on CPUs only."""
    cpu_variant: CpuVariant | None = None
    slo: Slo
    timeout_us: int = 60_000_000
    on_predicted_miss: tuple[OnMiss, ...] = (OnMiss.DIVERT, OnMiss.SERVE_LATE)
    fair_share: int = 1
    priority: Priority = Priority.STANDARD
    queue: QueueBounds = QueueBounds()
    scaling: Scaling = Scaling()
    idempotent: bool = False
    cancel_on_disconnect: bool = False
    artifacts: tuple[Artifact, ...] = ()
    """Mounted in both variants."""
    access: Access = Access()
    progress_deadline_us: int = 600_000_000
    canary_percent: int | None = None


class Function(Struct, frozen=True, kw_only=True, dict=True):
    """One GpuFunction as applied."""

    namespace: str
    name: str
    uid: str
    generation: int
    spec: FunctionSpec
    revision: str
    """Hash of the fields that shape the process or pod (10 hex digits)."""
    labels: dict[str, str] = {}
    """Kubernetes: of the object; its pods get those that the administrator lets through."""
    annotations: dict[str, str] = {}
    origin: str = ""
    """Where it came from, for messages: the file in embedded mode."""
    work_dir: str | None = None
    """Embedded: the folder of its file, the working directory of its processes."""
    warnings: tuple[str, ...] = ()
    """Fields that are accepted but do not act in this mode, one sentence each."""

    @cached_property
    def key(self) -> str:
        """`namespace/name`: the name of its flow everywhere."""
        return f"{self.namespace}/{self.name}"

    @property
    def primary(self) -> Variant:
        """The variant that requests go to first."""
        return Variant.GPU if self.spec.gpu else Variant.CPU

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Its variants, the primary first."""
        if not self.spec.gpu:
            return (Variant.CPU,)
        return (Variant.GPU, Variant.CPU) if self.spec.cpu_variant else (Variant.GPU,)

    @property
    def serves_late(self) -> bool:
        """Whether a request that can no longer be on time is still served, behind all that can."""
        return OnMiss.SERVE_LATE in self.spec.on_predicted_miss

    def container_of(self, variant: Variant) -> ContainerSpec:
        """The container to run for a variant."""
        if variant is Variant.CPU and self.spec.cpu_variant is not None:
            return self.spec.cpu_variant.container
        return self.spec.container

    def concurrency_of(self, variant: Variant) -> int:
        """Requests that one replica of the variant takes at once."""
        if variant is Variant.CPU and self.spec.cpu_variant is not None:
            return self.spec.cpu_variant.concurrency
        return self.spec.scaling.concurrency

    def max_replicas_of(self, variant: Variant) -> int:
        """Upper bound of replicas of the variant."""
        if variant is Variant.CPU and self.spec.cpu_variant is not None and self.spec.gpu:
            return self.spec.cpu_variant.max_replicas
        return self.spec.scaling.max_replicas

    def min_replicas_of(self, variant: Variant) -> int:
        """Lower bound of replicas of the variant; a CPU variant beside a GPU one has none."""
        return self.spec.scaling.min_replicas if variant is self.primary else 0

    def objective_us(self, slo_class: str | None) -> int | None:
        """The latency objective of a class (None: the default class), or None for an unknown class."""
        return self.spec.slo.latency_us if slo_class is None else self.spec.slo.classes.get(slo_class)

    def wakes(self, path: str) -> bool:
        """Whether a request for `path` (prefix stripped) may wake the function and enter its profile."""
        # A loop and not any(): every request comes by here.
        for pattern in self.spec.container.no_wake_paths:
            if path == pattern or (pattern.endswith("*") and path.startswith(pattern[:-1])):
                return False
        return True
