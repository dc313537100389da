"""The GpuFunction resource as it is written: field names, types and bounds, nothing across fields.

The same bounds as crds/, written a second time on purpose: the contract test feeds every example to both. Quantities
stay text here; stoker.wire.crd parses them.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from stoker.model.function import KeepAlivePolicy, Measure, OnMiss, Priority, Sharing

# Python's `$` also matches before a final newline, RE2's does not: hence `\Z`.
Label = Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")]
Subdomain = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*\Z",
    ),
]
FunctionName = Annotated[str, Meta(max_length=40, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?\Z")]
Key = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+\Z")]
ProbePath = Annotated[str, Meta(max_length=256, pattern=r"^/[^ ?#*]*\Z")]
WakePath = Annotated[str, Meta(max_length=256, pattern=r"^/[^ ?#*]*[*]?\Z")]
MountPath = Annotated[str, Meta(max_length=1024, pattern=r"^/[^:]*\Z")]
SubPath = Annotated[str, Meta(max_length=1024, pattern=r"^[^/].*\Z")]
Image = Annotated[str, Meta(max_length=512, pattern=r"^[^\s]+\Z")]
Command = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=4096)], ...], Meta(min_length=1, max_length=64)]
Args = Annotated[tuple[Annotated[str, Meta(max_length=4096)], ...], Meta(max_length=256)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Id = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Count1000 = Annotated[int, Meta(ge=1, le=1000)]
Cost = Annotated[float, Meta(gt=0, le=1_000_000)]
ProductName = Annotated[str, Meta(max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?\Z")]
Products = Annotated[tuple[ProductName, ...], Meta(min_length=1, max_length=16)]
ResourceName = Annotated[
    str, Meta(max_length=127, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?\Z")
]

NO_WAKE_PATHS = ("/health", "/healthz", "/readyz", "/livez", "/metrics")


class Wire(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of all objects here: unknown fields are refused."""


class Reference(Wire, frozen=True, kw_only=True):
    name: Subdomain


class KeyRef(Wire, frozen=True, kw_only=True):
    name: Subdomain
    key: Key


class ValueFrom(Wire, frozen=True, kw_only=True):
    secret_key_ref: KeyRef | UnsetType = UNSET
    config_map_key_ref: KeyRef | UnsetType = UNSET


class Env(Wire, frozen=True, kw_only=True):
    name: Annotated[str, Meta(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")]
    value: Annotated[str, Meta(max_length=32768)] | UnsetType = UNSET
    value_from: ValueFrom | UnsetType = UNSET


EnvList = Annotated[tuple[Env, ...], Meta(max_length=128)]


class Resources(Wire, frozen=True, kw_only=True):
    cpu: Annotated[int, Meta(ge=1, le=999_999)] | Annotated[str, Meta(max_length=8)] = "1"
    memory: str | UnsetType = UNSET


class ProbeSpec(Wire, frozen=True, kw_only=True):
    path: ProbePath | UnsetType = UNSET
    tcp: bool | UnsetType = UNSET


class EmptyDir(Wire, frozen=True, kw_only=True):
    size_limit: str | UnsetType = UNSET


class Claim(Wire, frozen=True, kw_only=True):
    claim_name: Subdomain
    read_only: bool = False


class ImageSource(Wire, frozen=True, kw_only=True):
    reference: Annotated[str, Meta(min_length=1, max_length=512)]


class Volume(Wire, frozen=True, kw_only=True):
    name: Label
    empty_dir: EmptyDir | UnsetType = UNSET
    config_map: Reference | UnsetType = UNSET
    secret: Reference | UnsetType = UNSET
    persistent_volume_claim: Claim | UnsetType = UNSET
    image: ImageSource | UnsetType = UNSET


class Mount(Wire, frozen=True, kw_only=True):
    name: Label
    mount_path: MountPath
    read_only: bool = False
    sub_path: SubPath | UnsetType = UNSET


class Container(Wire, frozen=True, kw_only=True):
    image: Image | UnsetType = UNSET
    command: Command | UnsetType = UNSET
    args: Args | UnsetType = UNSET
    env: EnvList | UnsetType = UNSET
    port: Port = 8080
    protocol: Literal["HTTP1", "GRPC"] = "HTTP1"
    resources: Resources | UnsetType = UNSET
    readiness: ProbeSpec | UnsetType = UNSET
    liveness: ProbeSpec | UnsetType = UNSET
    startup_timeout: str = "10m"
    termination_grace_period: str = "30s"
    volumes: Annotated[tuple[Volume, ...], Meta(max_length=32)] | UnsetType = UNSET
    mounts: Annotated[tuple[Mount, ...], Meta(max_length=32)] | UnsetType = UNSET
    shm: str | UnsetType = UNSET
    run_as_user: Id | UnsetType = UNSET
    fs_group: Id | UnsetType = UNSET
    image_pull_secrets: Annotated[tuple[Reference, ...], Meta(max_length=8)] | UnsetType = UNSET
    service_account_name: Subdomain | UnsetType = UNSET
    metrics_port: Port | UnsetType = UNSET
    no_wake_paths: Annotated[tuple[WakePath, ...], Meta(max_length=32)] = NO_WAKE_PATHS


class GpuAlternative(Wire, frozen=True, kw_only=True):
    memory: str
    products: Products | UnsetType = UNSET
    resource_name: ResourceName | UnsetType = UNSET


class Gpu(Wire, frozen=True, kw_only=True):
    memory: str | UnsetType = UNSET
    products: Products | UnsetType = UNSET
    resource_name: ResourceName | UnsetType = UNSET
    count: Annotated[int, Meta(ge=1, le=16)] = 1
    sharing: Sharing = Sharing.EXCLUSIVE
    any_of: Annotated[tuple[GpuAlternative, ...], Meta(min_length=1, max_length=8)] | UnsetType = UNSET


class CpuVariantSpec(Wire, frozen=True, kw_only=True):
    image: Image | UnsetType = UNSET
    command: Command | UnsetType = UNSET
    args: Args | UnsetType = UNSET
    env: EnvList | UnsetType = UNSET
    readiness: ProbeSpec | UnsetType = UNSET
    resources: Resources | UnsetType = UNSET
    concurrency: Count1000 | UnsetType = UNSET
    max_replicas: Count1000 | UnsetType = UNSET


class SloSpec(Wire, frozen=True, kw_only=True):
    latency: str
    measure: Measure = Measure.COMPLETE
    percentile: Annotated[float, Meta(gt=0, lt=100)] = 99.0
    cold_latency: str | UnsetType = UNSET
    max_cost_per_hour: Cost | UnsetType = UNSET
    max_cost_per_thousand_requests: Cost | UnsetType = UNSET
    classes: Annotated[dict[str, str], Meta(max_length=16)] | UnsetType = UNSET


class Queue(Wire, frozen=True, kw_only=True):
    max_requests: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    max_bytes: Annotated[int, Meta(ge=1, le=2**40)] | str = "64Mi"


class KeepAlive(Wire, frozen=True, kw_only=True):
    policy: KeepAlivePolicy | UnsetType = UNSET
    ttl: str = "5m"


class Window(Wire, frozen=True, kw_only=True):
    cron: Annotated[str, Meta(max_length=100, pattern=r"^[0-9A-Za-z*/,-]+( [0-9A-Za-z*/,-]+){4}\Z")]
    duration: str
    replicas: Count1000


class PreWarm(Wire, frozen=True, kw_only=True):
    policy: Literal["None", "Histogram", "HazardRate", "Cron"] = "None"
    windows: Annotated[tuple[Window, ...], Meta(min_length=1, max_length=16)] | UnsetType = UNSET


class ScalingSpec(Wire, frozen=True, kw_only=True):
    min_replicas: Annotated[int, Meta(ge=0, le=1000)] = 0
    max_replicas: Count1000 = 10
    concurrency: Count1000 = 1
    keep_alive: KeepAlive = KeepAlive()
    pre_warm: PreWarm | UnsetType = UNSET


class Artifact(Wire, frozen=True, kw_only=True):
    image: Image | UnsetType = UNSET
    claim: Subdomain | UnsetType = UNSET
    uri: Annotated[str, Meta(max_length=2048, pattern=r"^(https|s3|gs|hf)://[^\s]+\Z")] | UnsetType = UNSET
    secret_ref: Reference | UnsetType = UNSET
    digest: Annotated[str, Meta(max_length=71, pattern=r"^sha256:[0-9a-f]{64}\Z")] | UnsetType = UNSET
    mount_path: MountPath


Caller = Annotated[
    str,
    Meta(max_length=127, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(/[a-z0-9]([-a-z0-9.]*[a-z0-9])?)?\Z"),
]


class Access(Wire, frozen=True, kw_only=True):
    visibility: Literal["Namespace", "Cluster", "Public"] = "Cluster"
    allow: Annotated[tuple[Caller, ...], Meta(max_length=64)] | UnsetType = UNSET
    hostnames: Annotated[tuple[Subdomain, ...], Meta(max_length=16)] | UnsetType = UNSET


class Rollout(Wire, frozen=True, kw_only=True):
    progress_deadline: str = "10m"
    canary_percent: Annotated[int, Meta(ge=1, le=99)] | UnsetType = UNSET


class GpuFunctionSpec(Wire, frozen=True, kw_only=True):
    container: Container
    gpu: Gpu | UnsetType = UNSET
    cpu_variant: CpuVariantSpec | UnsetType = UNSET
    slo: SloSpec
    timeout: str = "60s"
    on_predicted_miss: Annotated[tuple[OnMiss, ...], Meta(min_length=1, max_length=3)] = (
        OnMiss.DIVERT,
        OnMiss.SERVE_LATE,
    )
    fair_share: Count1000 = 1
    priority: Priority = Priority.STANDARD
    queue: Queue = Queue()
    scaling: ScalingSpec = ScalingSpec()
    artifacts: Annotated[tuple[Artifact, ...], Meta(max_length=16)] | UnsetType = UNSET
    access: Access = Access()
    idempotent: bool = False
    cancel_on_disconnect: bool = False
    rollout: Rollout = Rollout()


class FunctionMetadata(Struct, frozen=True, kw_only=True):
    """Metadata as far as a function needs it; the rest of ObjectMeta is the API server's."""

    name: FunctionName
    namespace: Label = "default"


class GpuFunctionResource(Wire, frozen=True, kw_only=True):
    api_version: Literal["stoker.dev/v1alpha1"]
    kind: Literal["GpuFunction"]
    metadata: FunctionMetadata
    spec: GpuFunctionSpec
    status: Any = None
