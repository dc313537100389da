"""What a replica is made of: its program, environment, files and probes. Quantities are integers, defaults filled in.

Embedded mode starts `command` as a process; Kubernetes runs `image` in a pod (stoker.pods), and much here acts there
only. Knows neither: names and values, no form of any pod.
"""

from enum import StrEnum

from msgspec import Struct


class Protocol(StrEnum):
    """What a container speaks on its port."""

    HTTP1 = "HTTP1"
    GRPC = "GRPC"


class Probe(Struct, frozen=True, kw_only=True):
    """Readiness or liveness: an HTTP path that answers 2xx or 3xx, or a TCP port that accepts."""

    path: str | None = None
    """HTTP path; None means a TCP connection is enough."""


class KeyKind(StrEnum):
    """What holds a key that an environment variable is read from."""

    SECRET = "secretKeyRef"  # noqa: S105  the name of a field
    CONFIG_MAP = "configMapKeyRef"


class KeyRef(Struct, frozen=True, kw_only=True):
    """One key of a Secret or ConfigMap in the function's own namespace; there is no way to name another."""

    kind: KeyKind
    name: str
    key: str


class EnvVar(Struct, frozen=True, kw_only=True):
    name: str
    value: str = ""
    """Empty where `source` is given."""
    source: KeyRef | None = None


class VolumeKind(StrEnum):
    """The kinds of volume that a function may have: none reaches its node or another namespace."""

    EMPTY_DIR = "emptyDir"
    CONFIG_MAP = "configMap"
    SECRET = "secret"  # noqa: S105  the name of a field
    CLAIM = "persistentVolumeClaim"
    IMAGE = "image"


class Volume(Struct, frozen=True, kw_only=True):
    name: str
    kind: VolumeKind
    source: str = ""
    """Name of the ConfigMap, Secret or claim, or the reference of the image; empty for an emptyDir."""
    size_limit_mib: int | None = None
    """Of an emptyDir; None is unlimited."""
    read_only: bool = False
    """Of a claim."""


class Mount(Struct, frozen=True, kw_only=True):
    volume: str
    path: str
    read_only: bool = False
    sub_path: str | None = None


class Artifact(Struct, frozen=True, kw_only=True):
    """Files such as weights that are there before the replica starts, mounted read only."""

    kind: VolumeKind
    """IMAGE or CLAIM; EMPTY_DIR, CONFIG_MAP and SECRET make no artifact."""
    source: str
    path: str


class ContainerSpec(Struct, frozen=True, kw_only=True):
    """What is run. A variant overrides fields of it (stoker.model.function.Function.container_of)."""

    image: str | None = None
    """Always there on Kubernetes."""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    port: int = 8080
    protocol: Protocol = Protocol.HTTP1
    cpu_millis: int = 1000
    """CPU request; a CPU replica holds it on the CPU device."""
    memory_mib: int | None = None
    """Host memory limit; None is unlimited."""
    readiness: Probe = Probe()
    liveness: Probe | None = None
    startup_timeout_us: int = 600_000_000
    termination_grace_us: int = 30_000_000
    volumes: tuple[Volume, ...] = ()
    mounts: tuple[Mount, ...] = ()
    shm_mib: int | None = None
    """Size of /dev/shm; None is the runtime's default (64 MiB)."""
    run_as_user: int | None = None
    """None: the image's own user."""
    fs_group: int | None = None
    image_pull_secrets: tuple[str, ...] = ()
    service_account_name: str | None = None
    metrics_port: int | None = None
    no_wake_paths: tuple[str, ...] = ("/health", "/healthz", "/readyz", "/livez", "/metrics")
    """Exact paths, or prefixes ending in `*`, that neither wake the function nor enter its profile."""
