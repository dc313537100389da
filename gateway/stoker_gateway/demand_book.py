"""Of which functions a gateway has demand to tell: a few of very many, so that telling it is cheap."""

from collections.abc import Callable

from stoker.model.demand import Demand
from stoker_gateway.visit import FunctionState

WAKE_MEMORY_US = 600_000_000
"""How long a wake is told at least; a function that is kept warm for longer after a request has its told for longer.
So a control plane that was away for a while misses none."""


class DemandBook:
    """See the module."""

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self._clock_us = clock_us
        self._called: dict[str, FunctionState] = {}

    def called(self, state: FunctionState) -> None:
        """A request that wakes it came."""
        self._called[state.key] = state

    def removed(self, key: str) -> None:
        """The function was deleted."""
        self._called.pop(key, None)

    def demand(self) -> Demand:
        """Who waits and runs now, and who woke what. Functions that nobody called for long are left out."""
        demand: Demand = {}
        now_us = self._clock_us()
        for key, state in tuple(self._called.items()):
            memory_us = max(WAKE_MEMORY_US, state.function.spec.scaling.keep_alive_ttl_us + WAKE_MEMORY_US // 10)
            wanted = {
                variant.variant: variant.demand()
                for variant in (state.gpu, state.cpu)
                if variant.in_system or variant.woken_since(now_us - memory_us)
            }
            if wanted:
                demand[key] = wanted
            else:
                del self._called[key]
        return demand
