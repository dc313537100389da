"""The allocation policies by name. Adding one is a line here."""

from stoker.errors import UnknownName
from stoker.policies.allocation.exclusive import Exclusive
from stoker.policies.allocation.fair import Fair
from stoker.policies.allocation.greedy_dual import GreedyDual
from stoker.policies.allocation.interface import AllocationPolicy
from stoker.policies.allocation.recency import LightFirst, Lru
from stoker.policies.allocation.slack_value import SlackValue

ALLOCATION: dict[str, type[AllocationPolicy]] = {
    Exclusive.name: Exclusive,
    Fair.name: Fair,
    GreedyDual.name: GreedyDual,
    LightFirst.name: LightFirst,
    Lru.name: Lru,
    SlackValue.name: SlackValue,
}


def make_allocation_policy(name: str) -> AllocationPolicy:
    """The policy of that name. Raises UnknownName, listing what there is."""
    if name not in ALLOCATION:
        raise UnknownName(f"there is no allocation policy {name!r}; use one of: {', '.join(sorted(ALLOCATION))}")
    return ALLOCATION[name]()
