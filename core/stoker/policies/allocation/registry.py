"""The allocation policies by name. Adding one is a line here."""

from stoker.errors import UnknownName
from stoker.policies.allocation.greedy_dual import GreedyDual
from stoker.policies.allocation.interface import AllocationPolicy

ALLOCATION: dict[str, type[AllocationPolicy]] = {policy.name: policy for policy in (GreedyDual,)}


def make_allocation_policy(name: str) -> AllocationPolicy:
    """The policy of that name. Raises UnknownName, listing what there is."""
    if name not in ALLOCATION:
        raise UnknownName(f"there is no allocation policy {name!r}; use one of: {', '.join(sorted(ALLOCATION))}")
    return ALLOCATION[name]()
