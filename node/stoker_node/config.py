"""Settings of the node agent. Read by stoker_runtime.settings (`STOKER_PROBE_INTERVAL_S`); knows no environment."""

from typing import Annotated

from msgspec import Meta, Struct

from stoker.wire.agent import BODY_RATE_WINDOW_S

Seconds = Annotated[float, Meta(gt=0, le=3600)]


class NodeSettings(Struct, frozen=True, kw_only=True):
    """What an agent may be told. Every default is what DESIGN promises."""

    probe_interval_s: Seconds = 0.05
    """Readiness probes of a starting replica: this is how late a replica is found ready."""
    probe_timeout_s: Seconds = 1.0
    """One readiness probe that takes longer has failed."""
    replica_connect_s: Seconds = 5.0
    """Connecting to a replica; replicas are near, so this only ends what hangs."""
    replica_idle_connections: Annotated[int, Meta(ge=1, le=100_000)] = 256
    """Kept connections per replica."""
    replica_back_off_s: Seconds = 0.2
    """A warm replica that refuses connections gets no request for this long; whoever runs it finds out meanwhile."""
    requeue_limit: Annotated[int, Meta(ge=0, le=1000)] = 10
    """A request whose replica accepts no connection is queued again this often; nothing of it was sent."""
    body_window_s: Seconds = float(BODY_RATE_WINDOW_S)
    """Window over which a body has to keep its rate after dispatch."""
    cut_grace_s: Seconds = 1.0
    """After the timeout of a call whose answer has begun, the gateway gets this long to cut before the agent does:
    one that stalls would hold the slot for ever."""
    hang_up_poll_s: Seconds = 1.0
    """While a body may not be read on, the kernel is asked this often whether the gateway has left."""
    exit_grace_s: Seconds = 0.1
    """How long answers of a process that has ended are still read: its last bytes may be on their way."""
    device_poll_s: Seconds = 10.0
    """Device health is looked at this often: NVML calls take a lock of the driver, so polling has a price."""
    device_stale_s: Seconds = 60.0
    """A driver that has not answered for this long makes its devices unhealthy."""
