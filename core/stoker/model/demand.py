"""What the gateways tell the control plane: who waits, who is served, who came, and who woke what."""

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
    arrivals: int = 0
    """Requests that wanted the variant so far, also those that went elsewhere because they would have missed their
    objective here. Only differences say something: it begins at any number (new_arrivals())."""


Demand = dict[str, dict[Variant, VariantDemand]]
"""By function key, then variant. Functions without an entry have no demand."""


def new_arrivals(before: int | None, told: int, in_system: int) -> int:
    """Requests that came since a counter of arrivals said `before`; None: it was never heard, and then those count that
    are there.

    A counter that was begun anew counts from zero. One that is a little lower was corrected: a request turned out to
    want another variant.
    """
    if before is None:
        return min(told, in_system)
    if told >= before:
        return told - before
    return told if told * 2 < before else 0
