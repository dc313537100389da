"""The results by name. Adding one is a module and a line here."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from stoker.errors import UnknownName
from stoker_sim.results import (
    calibration,
    competitive_ratio,
    cost_duals,
    greedy_dual,
    heterogeneous,
    kaas_pools,
    keep_alive,
    mqfq_sticky,
    own_policy,
    torpor_density,
)
from stoker_sim.results.result import Result


class MakeResult(Protocol):
    """Makes it from nothing but data that is in the package."""

    def __call__(self, *, small: bool = False) -> Result: ...


RESULTS: Mapping[str, MakeResult] = MappingProxyType(
    {
        module.NAME: module.make
        for module in (
            kaas_pools,
            mqfq_sticky,
            torpor_density,
            greedy_dual,
            keep_alive,
            own_policy,
            competitive_ratio,
            calibration,
            cost_duals,
            heterogeneous,
        )
    }
)


def make_result(name: str) -> Callable[[], Result]:
    """The one of that name. Raises UnknownName."""
    make = RESULTS.get(name)
    if make is None:
        raise UnknownName(f"there is no result {name!r}; use one of: {', '.join(RESULTS)}")
    return make
