"""What Stoker's processes say to each other and to the API server on Kubernetes: names, ports and JSON forms.

Three streams of JSON lines, each line a whole snapshot, sent when something changed (coalesced) and at least every
HEARTBEAT_S; a reader that hears nothing for STALE_S treats the sender as gone:

- `GET /v1/load` on an agent's data port (stoker.wire.agent): gateways and the scheduler extender dial it.
- `GET /v1/replicas` on an agent's control port: the operator dials it (ReplicaFrame).
- `GET /v1/demand` on a gateway's control port: the operator dials it (DemandFrame).

Times travel as ages in milliseconds, so clocks need not agree. Knows no client, no clock and no policy.
"""

from msgspec import Struct

from stoker.model.function import GpuOption, Sharing, Variant
from stoker.model.replica import ReplicaState

GROUP = "stoker.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
SCHEDULER_NAME = "stoker-scheduler"
FIELD_MANAGER = "stoker-operator"

# Labels of the pods of functions. A pod belongs to the function of that name in its own namespace.
L_FUNCTION = f"{GROUP}/function"
L_REVISION = f"{GROUP}/revision"
L_VARIANT = f"{GROUP}/variant"
L_ROLE = f"{GROUP}/role"
"""What a pod of Stoker in a tenant's namespace is: ROLE_REPLICA or ROLE_PREFETCH."""
ROLE_REPLICA = "replica"
ROLE_PREFETCH = "prefetch"
L_FUNCTION_ACCOUNT = f"{GROUP}/function-account"
"""On a ServiceAccount, with the value `true`: functions of its namespace may name it."""
A_REPLICA = f"{GROUP}/replica"
"""Annotation: a PodReplica as JSON. All that the scheduler extender and the agent need to know of a pod."""

# Stoker's own pods, in its own namespace.
L_COMPONENT = "app.kubernetes.io/component"
L_NAME = "app.kubernetes.io/name"
NAME = "stoker"
COMPONENT_OPERATOR = "operator"
COMPONENT_SCHEDULER = "scheduler"
COMPONENT_NODE = "node"
COMPONENT_GATEWAY = "gateway"

# Ports of Stoker's own pods.
PORT_PUBLIC = 8080
"""Gateway, plain HTTP; its Service listens on 80."""
PORT_DATA = 8443
"""Agent, mTLS: admit, run and load (stoker.wire.agent). Clients: gateway, scheduler."""
PORT_CONTROL = 8444
"""Agent and gateway, mTLS: /v1/replicas, /v1/drain; /v1/demand. Client: operator."""
PORT_GRANT = 8445
"""Agent, plain: GRANT_PATH, asked by the waiting init container of pods with shared devices."""
PORT_INTERNAL = 9090
"""Every component: /metrics, /healthz, /readyz, /v1/explain."""
PORT_EXTENDER = 8888
"""Scheduler extender, loopback of its pod only."""

REPLICAS_PATH = "/v1/replicas"
DEMAND_PATH = "/v1/demand"
DRAIN_PATH = "/v1/drain"
GRANT_PATH = "/v1/grant"
"""`GET /v1/grant?pod=UID`: 200 when the agent has granted the pod's devices, 204 when not yet (after waiting up to
GRANT_WAIT_S); the init container asks again until 200."""
GRANT_WAIT_S = 10.0
HEARTBEAT_S = 1.0
STALE_S = 3.0
DEMAND_MIN_INTERVAL_S = 0.02
REPLICAS_MIN_INTERVAL_S = 0.05
DRAIN_WAIT_S = 5.0

# The init container of pods with shared devices.
WAIT_CONTAINER = "wait-for-device"
MAIN_CONTAINER = "function"
E_GRANT_HOST = "STOKER_GRANT_HOST"
"""Full DNS name of the agents' Service (internalTrafficPolicy: Local, so it leads to the agent of the pod's node)."""
E_GRANT_PORT = "STOKER_GRANT_PORT"
E_POD_UID = "STOKER_POD_UID"


class Role(Struct, frozen=True):
    """A process that holds a certificate: its name in it (DNS SAN) and the Secret that holds it."""

    dns_name: str
    secret: str


ROLES: dict[str, Role] = {
    component: Role(f"{component}.stoker.internal", f"stoker-tls-{component}")
    for component in (COMPONENT_OPERATOR, COMPONENT_SCHEDULER, COMPONENT_NODE, COMPONENT_GATEWAY)
}
CA_SECRET = "stoker-ca"  # noqa: S105  the name of an object
K_CA, K_CERTIFICATE, K_KEY = "ca.crt", "tls.crt", "tls.key"
TICKET_SECRET = "stoker-tickets"  # noqa: S105  the name of an object
"""Holds the keys of tickets, which all gateways share (stoker.tickets)."""
K_TICKET_CURRENT, K_TICKET_OTHER = "current.key", "other.key"


class PodReplica(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The annotation A_REPLICA: which replica a pod is, and what it needs of its node."""

    id: str
    """stoker.names.replica_id."""
    function: str
    """Key, `namespace/name`."""
    function_uid: str
    variant: Variant
    revision: str
    ordinal: int
    options: tuple[GpuOption, ...] = ()
    """Acceptable devices in order of preference; the pod requests the resource of the first. Empty: CPU."""
    millicores: int = 0
    memory_mib: int = 0
    """Host memory of a CPU replica (0: unlimited)."""
    port: int = 8080
    readiness_path: str | None = None
    """None: a TCP connection."""

    @property
    def count(self) -> int:
        """Devices that it holds."""
        return self.options[0].count if self.options else 0

    @property
    def sharing(self) -> Sharing:
        """Whether it shares its device."""
        return self.options[0].sharing if self.options else Sharing.SHARED


class ReplicaReport(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One replica as its agent sees it."""

    id: str
    pod_uid: str
    state: ReplicaState
    devices: tuple[str, ...] = ()
    """The agent's device ids that it really got; empty until the kubelet said so."""
    started_ms: int = 0
    """Age of the replica."""
    ready_ms: int | None = None
    """How long ago it became warm."""
    idle_ms: int | None = None
    in_flight: int = 0
    served: int = 0
    overdue_ms: int | None = None
    unfit: str = ""
    """Why the device that it got is not one that it may use, in one sentence; empty when it is."""


class ProfileReport(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What runs of one variant took on one product lately, as one agent has measured it."""

    variant: Variant
    product: str
    p50_ms: float
    p99_ms: float
    samples: int
    mean_ms: float | None = None
    deviation_ms: float = 0.0
    """Standard deviation. An agent of an older version tells neither."""


class CostReport(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What one variant of a function was charged by an agent since it began (stoker.cost.meter), in micro-units."""

    starting: int = 0
    idle: int = 0
    busy: int = 0
    runs: int = 0


class SpentReport(Struct, frozen=True, omit_defaults=True, array_like=True):
    """What a function spent at an agent around one time of the last hour."""

    age_ms: int
    micro: int


class ReplicaFrame(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One line of `/v1/replicas`: everything that this agent holds."""

    seq: int
    node: str
    accepting: bool = True
    replicas: tuple[ReplicaReport, ...] = ()
    queued: dict[str, dict[Variant, int]] = {}
    start_ms: dict[str, dict[Variant, int]] = {}
    """Measured start-up, cold to warm; only what was measured here."""
    profiles: dict[str, tuple[ProfileReport, ...]] = {}
    costs: dict[str, dict[Variant, CostReport]] = {}
    """Running totals; only where devices have prices."""
    spent: dict[str, tuple[SpentReport, ...]] = {}
    """The last hour of functions that are under a bound on cost, oldest first: for an operator that has just begun."""


class VariantDemandReport(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """stoker.model.demand.VariantDemand with ages."""

    held: int = 0
    in_system: int = 0
    last_wake_ms: int | None = None
    oldest_held_ms: int | None = None
    arrivals: int = 0
    """Since the gateway began; it may begin anew."""


class SloReport(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Requests of a function that count towards its objective, since the gateway began (DESIGN 7)."""

    offered: int
    on_time: int = 0
    diverted: int = 0
    """Of the offered ones, those that ran on the CPU variant although the function has a GPU."""


class DemandFrame(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One line of `/v1/demand`: every function with demand, or with a wake that is remembered."""

    seq: int
    gateway: str
    """Name of its pod."""
    functions: dict[str, dict[Variant, VariantDemandReport]] = {}
    slo: dict[str, SloReport] = {}
    """Only functions that were called."""


class DrainRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """Body of `POST /v1/drain`: dispatch nothing more to the pod."""

    pod_uid: str


class DrainAnswer(Struct, frozen=True, kw_only=True, rename="camel"):
    """200: `drained` once nothing is in flight; else what still is after DRAIN_WAIT_S (ask again). Unknown pod: 404."""

    drained: bool
    in_flight: int = 0
