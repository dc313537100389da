"""Settings of the gateway. Read by stoker_runtime.settings (`STOKER_HOLD_REQUESTS`); knows no environment."""

from typing import Annotated

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Bytes = Annotated[int, Meta(ge=1024, le=2**40)]


class AgentAddress(Struct, frozen=True):
    """Where an agent's data listener is."""

    host: str
    port: int


class GatewaySettings(Struct, frozen=True, kw_only=True):
    """What a gateway may be told. Every default is what DESIGN promises."""

    hold_requests: Annotated[int, Meta(ge=1, le=10_000_000)] = 10_000
    """Requests held for a warm replica, over all functions; more are refused with 503 HoldFull. A namespace may hold as
    many as it leaves free: half of them when it is alone."""
    hold_bytes: Bytes = 256 * 2**20
    """Body bytes that requests, held or under way, may take in the gateway's memory, over all functions. A namespace
    may have as many as it leaves free."""
    device_choice_seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    """Of a device-choice policy that draws (landlord): each gateway has its own state."""
    cluster_domain: str = "cluster.local"
    """Ends a full host name: FUNCTION.NAMESPACE.svc.CLUSTER_DOMAIN."""
    max_connections: Annotated[int, Meta(ge=1, le=10_000_000)] = 12_000
    """Client connections, idle ones included; a request on one more is refused with 503 HoldFull. A namespace may have
    as many requests under way as it leaves free: half of them when it is alone."""
    keep_alive_s: Seconds = 75.0
    """Idle client connections are closed after this long; it also ends a client that sends its head byte by byte, and
    one that does not read the answer that it got."""
    lingering_s: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """How long the rest of a body that nobody wants is still read, so that the client sees its answer."""
    max_line_bytes: Annotated[int, Meta(ge=1024, le=65_536)] = 16 * 1024
    """One request line or one header field."""
    max_head_bytes: Annotated[int, Meta(ge=1024, le=1_048_576)] = 64 * 1024
    """All headers together."""
    max_headers: Annotated[int, Meta(ge=8, le=1024)] = 128
    backlog: Annotated[int, Meta(ge=1, le=65_535)] = 4096
    """Connections that the kernel keeps while the loop is busy: a burst must not become resets."""
    agent_connect_s: Seconds = 5.0
    agent_idle_connections: Annotated[int, Meta(ge=1, le=100_000)] = 1024
    """Kept connections per agent."""
    control_plane_grace_s: Seconds = 10.0
    """Without any agent for this long, new requests get 503 ControlPlaneUnavailable instead of being held."""
    hangup_poll_s: Seconds = 1.0
    """Clients whose body is unread are looked at this often: while reading is paused nobody tells that they left."""
