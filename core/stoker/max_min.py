"""Weighted max-min shares of one resource: poured out by weight until each has what it asks for or it is out.

D. Bertsekas and R. Gallager, "Data Networks" (1992), 6.5.2. Integers; what rounding leaves over stays unshared.
"""

from collections.abc import Mapping


def max_min(demands: Mapping[str, int], weights: Mapping[str, int], capacity: int) -> dict[str, int]:
    """What each gets of `capacity` (at least 0). Demands are at least 0; who is not in `weights` weighs 1."""
    got: dict[str, int] = {}
    left = max(0, capacity)
    weight = sum(weights.get(name, 1) for name in demands)
    # Those that ask least for their weight first: whoever asks for less than its part leaves more to all others.
    for name in sorted(demands, key=lambda one: (demands[one] / weights.get(one, 1), one)):
        own = weights.get(name, 1)
        part = min(demands[name], left * own // weight)
        got[name] = part
        left -= part
        weight -= own
    return got
