"""The form of `/v1/state`: what `stoker serve` shows of itself and `top`, `invoke`, `explain` read.

Times in milliseconds, memory in MiB. Fields may be added; readers ignore what they do not know.
"""

from msgspec import Struct

from stoker.model.function import Variant
from stoker_cli.costs.cost_view import CostState


class ConditionView(Struct, kw_only=True, rename="camel"):
    """One condition of a function, as kstatus has them."""

    type: str
    status: bool
    reason: str = ""
    message: str = ""


class VariantView(Struct, kw_only=True, rename="camel"):
    """One variant of a function."""

    replicas: dict[str, int] = {}
    """By state; states without a replica are left out."""
    held: int = 0
    queued: int = 0
    running: int = 0
    exec_ms: float | None = None
    """Mean execution time; a guess while exec_samples is 0."""
    exec_samples: int = 0
    exec_p50_ms: float | None = None
    start_ms: float | None = None
    start_samples: int = 0


class SloView(Struct, kw_only=True, rename="camel"):
    """The objective and how it is kept since the start of stoker serve."""

    latency_ms: float
    cold_latency_ms: float | None = None
    percentile: float = 99.0
    offered: int = 0
    """Requests that ended; those that the client gave up are not counted."""
    on_time: int = 0
    late: int = 0
    refused: int = 0
    expired: int = 0
    failed: int = 0
    cold: int = 0
    attainment: float | None = None
    """on_time / offered; None before the first request."""


class FunctionView(Struct, kw_only=True, rename="camel"):
    url: str
    revision: str
    updating: str | None = None
    """The revision that is on its way to replace `revision`."""
    why_waiting: str = ""
    """Why a request waits now, in one sentence."""
    timeout_ms: float
    primary: Variant
    conditions: list[ConditionView]
    variants: dict[Variant, VariantView]
    slo: SloView
    cost: CostState | None = None
    """None: nothing here has a price."""
    classes: dict[str, float] = {}
    """Latency objectives of the classes in milliseconds."""
    refusals: dict[str, int] = {}
    """Requests that were refused, by why."""
    diverted: dict[str, int] = {}
    """Requests that ran on the CPU variant although there is a GPU, by why."""
    origin: str = ""
    warnings: list[str] = []

    def condition(self, kind: str) -> ConditionView | None:
        return next((condition for condition in self.conditions if condition.type == kind), None)

    def count(self, state: str) -> int:
        """Replicas in a state, over the variants."""
        return sum(variant.replicas.get(state, 0) for variant in self.variants.values())


class ResidentView(Struct, kw_only=True, rename="camel"):
    """A replica on a device."""

    replica: str
    state: str
    memory_mib: int
    in_flight: int = 0


class DeviceView(Struct, kw_only=True, rename="camel"):
    id: str
    label: str
    product: str
    kind: str
    simulated: bool
    healthy: bool
    reason: str
    memory_mib: int
    reserved_mib: int
    residents: list[ResidentView]


class PolicyView(Struct, kw_only=True, rename="camel"):
    """The policies that act beside the queueing policy."""

    profile: str
    admission: str
    admission_mode: str
    allocation: str
    device_choice: str
    keep_alive: str
    pre_warm: str


class StateView(Struct, kw_only=True, rename="camel"):
    pid: int
    url: str
    uptime_s: float
    queueing: str
    policy: PolicyView | None = None
    """None: an older instance, which does not tell."""
    draining: bool
    functions: dict[str, FunctionView]
    devices: list[DeviceView]
    records: int = 0
    """Requests that explain can explain."""
    records_kept: int = 0

    def key_of(self, name: str) -> str | None:
        """The key that a person means by NAMESPACE/NAME or NAME: that of namespace default, else the only one of it."""
        if "/" in name:
            key = name.strip("/")
            return key if key in self.functions else None
        if f"default/{name}" in self.functions:
            return f"default/{name}"
        others = [key for key in self.functions if key.partition("/")[2] == name]
        return others[0] if len(others) == 1 else None
