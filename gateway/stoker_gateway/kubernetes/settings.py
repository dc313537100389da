"""What a gateway reads besides GatewaySettings when it runs on Kubernetes."""

from typing import Annotated

from msgspec import Meta, Struct

from stoker.wire.cluster import PORT_CONTROL, PORT_INTERNAL, PORT_PUBLIC

Port = Annotated[int, Meta(ge=0, le=65_535)]


class ClusterGatewaySettings(Struct, frozen=True, kw_only=True):
    """See the module. The chart sets terminationGracePeriodSeconds to more than `endpoints_grace_s + drain_s`."""

    endpoints_grace_s: Annotated[float, Meta(ge=0, le=300)] = 5.0
    """Seconds that a gateway which is told to end goes on as before (but not ready): so long the cluster may take to
    send nobody here any more."""
    drain_s: Annotated[float, Meta(ge=0, le=86_400)] = 30.0
    """Seconds that accepted requests get to finish after that."""
    records_kept: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    """Newest requests that can be explained. About 1 KiB of memory each."""
    public_port: Port = PORT_PUBLIC
    control_port: Port = PORT_CONTROL
    """Of the operator's demand stream; the operator dials the default."""
    internal_port: Port = PORT_INTERNAL
    path_hosts: str = ""
    """Further host names, separated by commas, under which functions are called by path (/NAMESPACE/FUNCTION/...),
    as in a load balancer's. Service names, addresses and localhost always are."""
