"""What plan() is shown of money. Values only; made by stoker.cost.spending. Amounts are integer micro-units."""

from msgspec import Struct

from stoker.cost.prices import Prices
from stoker.cost.window import Spent
from stoker.model.function import Variant


class Costs(Struct, frozen=True, kw_only=True):
    """Without prices nothing has a cost, and no bound acts."""

    prices: Prices = {}
    """An hour of each device that has a price."""
    caps: dict[str, int] = {}
    """What an hour may cost: by key of functions with maxCostPerHour, and by name of namespaces with one."""
    run_caps: dict[str, int] = {}
    """What a thousand requests may cost, by key."""
    spent: dict[str, Spent] = {}
    """In the last hour, of everybody who has a bound and spent something."""
    runs: dict[str, int] = {}
    """Requests that ran in the last hour, of functions in `run_caps`."""
    run_micro: dict[str, dict[Variant, int]] = {}
    """What one request of such a function costs on a variant; one of which nothing is known yet is left out."""
    dear: dict[str, tuple[str, ...]] = {}
    """Products on which even a full replica's requests cost more than that."""
    exec_us: dict[str, dict[Variant, int]] = {}
    """Measured execution times of functions with a bound, whether they have replicas now or not."""
    on_time: dict[str, tuple[Variant, ...]] = {}
    """Variants of a function with a bound whose runs were measured to end well within its objective."""
    slow: dict[str, tuple[str, ...]] = {}
    """Products on which a run of a function with a bound was measured to take longer than its objective."""


NO_COSTS = Costs()


class Bound(Struct, frozen=True, kw_only=True):
    """Why requests may not have a variant of a function for what it costs."""

    detail: str
    """One sentence."""
    until_us: int | None
    """Until then, on the clock of the plan; None: time alone changes nothing."""
    warm_too: bool = False
    """Replicas that are warm serve no request either; else what is warm serves."""


Bounds = dict[str, dict[Variant, Bound]]
"""By key of the function."""
