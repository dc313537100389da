"""The order that each queueing policy with a fixed one promises, said a second time and independently.

Tests compare policies with it. Policies whose order depends on what was served, drawn or held back are not here: their
tests compare them with models of their own.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from stoker.model.request import QueuedRequest

Order = Callable[[QueuedRequest], tuple[int, ...]]

ORDERS: Mapping[str, Order] = MappingProxyType(
    {
        "fcfs": lambda request: (request.arrival_us,),
        "edf": lambda request: (request.objective_us, request.arrival_us),
        "least-slack": lambda request: (request.objective_us - request.predicted_exec_us, request.arrival_us),
        "sjf": lambda request: (request.predicted_exec_us, request.arrival_us),
    }
)
"""By policy name, where everything is resident; requests of equal rank run in the order of their push."""
