"""What each namespace holds and is about to get, of devices of one kind: looked at when an allocation policy asks.

Counts all that stays, what this plan starts, and what is claimed. Decides nothing.
"""

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from stoker.control.board import Board
from stoker.control.fleet import Fleet
from stoker.control.planning import Action, FunctionMemory, Start
from stoker.control.shares import namespace_of
from stoker.model.function import Variant


class Tenant(Struct):
    """One namespace."""

    devices: int = 0
    """That it holds, with those for replicas on their way."""
    by_function: dict[str, int] = {}
    """The same by key."""
    classes: set[int] = set()
    """Classes of these devices."""


Tenants = Mapping[tuple[str, Variant], Tenant]


def tenants(fleet: Fleet, board: Board, actions: Iterable[Action]) -> Tenants:
    """All namespaces that hold or get something. `actions`: those of the plan so far."""
    found: dict[tuple[str, Variant], Tenant] = {}

    def count(key: str, variant: Variant, devices: Collection[str]) -> None:
        tenant = found.setdefault((namespace_of(key), variant), Tenant())
        tenant.devices += len(devices)
        tenant.by_function[key] = tenant.by_function.get(key, 0) + len(devices)
        tenant.classes.update(board.class_of(d) for d in devices)

    for pair in fleet.pairs():
        for replica in fleet.staying(pair):
            count(*pair, board.devices_of(replica.spec.id) or replica.spec.devices)
    for action in actions:
        if isinstance(action, Start):
            count(action.spec.function, action.spec.variant, action.spec.devices)
    for claim in board.claims:
        count(claim.function, claim.variant, claim.devices)
    return found


def gave_way_us(memory: Mapping[str, FunctionMemory]) -> dict[tuple[str, Variant], int]:
    """When a function of each namespace gave way last; a namespace without an entry never did."""
    found: dict[tuple[str, Variant], int] = {}
    for key, of_function in memory.items():
        for variant, at_us in of_function.gave_way_us.items():
            namespace = namespace_of(key)
            found[namespace, variant] = max(at_us, found.get((namespace, variant), 0))
    return found
