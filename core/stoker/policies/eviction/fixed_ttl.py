"""`fixed-ttl`: an idle resident leaves after a fixed time.

What cloud providers do: Shahrad et al. (ATC'20) report 10 minutes of AWS and 20 of Azure, and FaasCache's baseline TTL
has 10 for all. Here the time is the function's keepAlive.ttl, or one for all (EvictionParams.ttl_us).
"""

from typing import ClassVar

from stoker.model.function import KeepAlivePolicy
from stoker.policies.eviction.bases import ForATime


class FixedTtl(ForATime):
    """For keepAlive.ttl after the last request."""

    name: ClassVar[str] = "fixed-ttl"
    keep_alive: ClassVar[KeepAlivePolicy | None] = KeepAlivePolicy.FIXED_TTL
