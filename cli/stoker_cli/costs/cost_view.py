"""The forms of /v1/cost and of the costs in /v1/state. Amounts are integer micro-units of the currency of GpuPolicy."""

from msgspec import Struct

from stoker_cli.costs.cost_lines import Amounts


class PriceView(Struct, kw_only=True, rename="camel"):
    """What a device costs."""

    device: str
    per_hour: float
    """0: nothing, or nobody named a price."""


class CostView(Struct, kw_only=True, rename="camel"):
    """The money of one instance."""

    file: str | None
    """Its account lines; None: it keeps none."""
    began: float
    """Seconds since the epoch, as `now`."""
    now: float
    prices: list[PriceView]
    unpriced: list[str]
    """Products without a price: their time is free."""
    accounts: dict[str, Amounts]
    """Running totals by function since it began."""
    unallocated: int


class CostState(Struct, kw_only=True, rename="camel"):
    """Of one function."""

    last_hour_micro: int
    """Spent in the last hour."""
    requests: int
    """That ran in the last hour."""
    max_per_hour_micro: int | None = None
    max_per_thousand_requests_micro: int | None = None
