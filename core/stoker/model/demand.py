"""What the gateways tell the control plane: who waits, who is served, and who woke what."""

from msgspec import Struct

from stoker.model.function import Variant


class VariantDemand(Struct, frozen=True, kw_only=True):
    """Demand for one variant of a function, over all gateways."""

    held: int = 0
    """Requests that wait in a gateway for a warm replica."""
    in_system: int = 0
    """Held, queued at an agent or running: everything that has not ended."""
    last_wake_us: int | None = None
    """When the last request came that wants the variant warm, refused ones included; None: never."""
    oldest_held_us: int | None = None
    """Arrival of the oldest held request; None when none is held."""


Demand = dict[str, dict[Variant, VariantDemand]]
"""By function key, then variant. Functions without an entry have no demand."""
