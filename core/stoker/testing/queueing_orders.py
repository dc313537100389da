"""The order that each queueing policy promises, said a second time and independently: what tests compare it with."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from stoker.model.request import QueuedRequest

Order = Callable[[QueuedRequest], tuple[int, ...]]

ORDERS: Mapping[str, Order] = MappingProxyType(
    {
        "fcfs": lambda request: (request.arrival_us,),
        "edf": lambda request: (request.objective_us, request.arrival_us),
        "least-slack": lambda request: (request.objective_us - request.predicted_exec_us, request.arrival_us),
    }
)
"""By policy name; requests of equal rank run in the order of their push."""
