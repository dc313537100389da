"""The eviction policies by name. Adding one is a line here."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from stoker.errors import UnknownName
from stoker.policies.eviction.interface import EvictionPolicy
from stoker.policies.eviction.lru import Lru

EVICTION: Mapping[str, Callable[[], EvictionPolicy]] = MappingProxyType({Lru.name: Lru})


def make_eviction(name: str) -> EvictionPolicy:
    """A policy of that name. Raises UnknownName, listing what there is."""
    make = EVICTION.get(name)
    if make is None:
        raise UnknownName(f"there is no eviction policy {name!r}; use one of: {', '.join(sorted(EVICTION))}")
    return make()
