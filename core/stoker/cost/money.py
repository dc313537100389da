"""Amounts of money as a person writes them."""

from stoker.cost.prices import MICRO


def money(amount: int) -> str:
    """Micro-units in the currency, as in `0.25`; never an exponent, and no more digits than there are."""
    return f"{amount / MICRO:.6f}".rstrip("0").rstrip(".") or "0"


def about(amount: int) -> str:
    """The same to two digits."""
    return money(int(float(f"{amount:.1e}")))
