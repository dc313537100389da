"""What a simulation in the form of replicas cost, by the core's own meter. Values only."""

from msgspec import Struct

from stoker.cost.meter import Account
from stoker.model.function import Variant


class Charges(Struct, frozen=True, kw_only=True):
    """What a whole simulation cost, warm-up included, in integer micro-units of the currency."""

    accounts: dict[tuple[str, Variant], Account]
    unallocated: int
    total: int
    """Price x time of all devices: the accounts and what is unallocated."""
    caps: dict[str, int]
    """Bounds on an hour, by key of the function or name of the namespace."""
    dearest_hours: dict[str, int]
    """Of everybody who has a bound, at least what the dearest rolling hour cost: it is looked at before each plan, and
    an amount may count 10 s longer than an hour.
    """
