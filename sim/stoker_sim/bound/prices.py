"""Upper bounds from prices, by weak duality: any prices give one, and better prices a lower one.

Suppose that a slot of a pool costs something for each microsecond of a bucket, and so does its memory. A schedule
then earns at most the weight of its requests less what they pay, each of them choosing the cheapest part of its
window, plus what all slots and all memory are worth. That holds for every schedule and for any prices from 0, so the
bound is right whoever proposed them, converged or not. All terms of the sum are positive, so what floating point loses
is far below `_MARGIN`. `ascended` proposes prices without an LP. Knows no solver.
"""

from math import floor

import numpy as np
from msgspec import Struct

from stoker_sim.bound.demand import Demand, Floats, Groups, Ints

_MARGIN = 1e-9
"""Relative. A sum of n doubles is off by n * 1.1e-16 of it at most, so this is enough for n up to 9 million."""

_WHOLE = 1e-12
_STEP = 0.2
"""Of the usual weight for each unit of a resource: a bucket that is asked for twice over gets that much dearer."""
_MOST_OVER = 3.0


class Prices(Struct, frozen=True, kw_only=True, eq=False):
    """All at least 0, in weight. By pool and bucket, for a microsecond of one slot, and of one unit of capacity."""

    slot: Floats
    memory: Floats
    money: float = 0.0
    """For 1e-12 of the currency, where the cost is capped."""


def no_prices(demand: Demand, groups: Groups) -> Prices:
    """All 0: their bound is the weight of what could be on time alone."""
    shape = (len(demand.pools), len(groups.edges_us) - 1)
    return Prices(slot=np.zeros(shape), memory=np.zeros(shape))


def bound_of(demand: Demand, groups: Groups, prices: Prices, cost_cap: int | None = None) -> int:
    """No schedule (that costs at most `cost_cap`) has more weight on time than this. O(cells log cells)."""
    paid = _paid(groups, prices)
    wish = _wish(groups, paid)
    gained = np.maximum(0.0, groups.weight[groups.group] - wish[groups.group] - paid)
    terms = [
        (groups.count * wish).sum(),
        (groups.count[groups.group] * groups.most * gained).sum(),
        _worth(demand, groups, prices),
        0.0 if cost_cap is None else prices.money * cost_cap,
    ]
    total = float(sum(terms))
    return min(demand.total_weight, floor(total + _MARGIN * (total + demand.total_weight)))


def ascended(demand: Demand, groups: Groups, rounds: int) -> Prices:
    """Prices by subgradient steps from 0: what is asked for more than there is gets dearer, the rest cheaper. Those
    with the lowest bound of all rounds. O(rounds * cells log cells), and no program is solved.

    Source: N. Z. Shor, "Minimization Methods for Non-Differentiable Functions" (1985); the steps are ours.
    """
    buckets = len(groups.edges_us) - 1
    place = groups.pool * buckets + groups.bucket
    length = np.diff(groups.edges_us).astype(float)
    resources = [
        (amount * length[None, :], groups_use)
        for amount, groups_use in ((demand.slots[:, None], groups.exec_us), (demand.capacity[:, None], groups.held))
    ]
    best = prices = no_prices(demand, groups)
    least = bound_of(demand, groups, best)
    for round_ in range(1, rounds + 1):
        asked = _asked(groups, _paid(groups, prices))
        moved = []
        for price, (there, use) in zip((prices.slot, prices.memory), resources, strict=True):
            taken = np.bincount(place, asked * use, minlength=price.size).reshape(price.shape)
            over = np.clip(taken / np.maximum(there, 1.0) - 1.0, -1.0, _MOST_OVER)
            used = use > 0
            usual = np.median(groups.weight[groups.group][used] / use[used]) if used.any() else 0.0
            moved.append(np.maximum(0.0, price + _STEP * usual / np.sqrt(round_) * over))
        prices = Prices(slot=moved[0], memory=moved[1])
        bound = bound_of(demand, groups, prices)
        if bound < least:
            least, best = bound, prices
    return best


def _paid(groups: Groups, prices: Prices) -> Floats:
    """What a whole request pays, by cell."""
    at = (groups.pool, groups.bucket)
    paid: Floats = groups.exec_us * prices.slot[at] + groups.held * prices.memory[at] + groups.cost * prices.money
    return paid


def _worth(demand: Demand, groups: Groups, prices: Prices) -> float:
    """What all slots and all memory are worth."""
    length = np.diff(groups.edges_us).astype(float)
    slots = (prices.slot @ length) @ demand.slots
    memory = (prices.memory @ length) @ demand.capacity
    return float(slots + memory)


def _wish(groups: Groups, paid: Floats) -> Floats:
    """By group, what its limit to whole requests is worth: any number from 0 is right, this one is the best.

    A request fills the cells of its window from the cheapest; the cell at which it is whole sets the number.
    """
    order, before = _filled(groups, paid)
    whole = np.flatnonzero(before + groups.most[order] >= 1.0 - _WHOLE)
    last = np.full(len(groups.count), np.inf)
    np.minimum.at(last, groups.group[order][whole], paid[order][whole])
    wish: Floats = np.maximum(0.0, groups.weight - last)
    return wish


def _asked(groups: Groups, paid: Floats) -> Floats:
    """Requests by cell, when each fills its window from the cheapest cell while that pays."""
    order, before = _filled(groups, paid)
    asked = np.empty(len(order))
    asked[order] = np.clip(1.0 - before, 0.0, groups.most[order])
    worth_it: Floats = np.where(paid < groups.weight[groups.group], asked, 0.0)
    return worth_it * groups.count[groups.group]


def _filled(groups: Groups, paid: Floats) -> tuple[Ints, Floats]:
    """The cells of each group from the cheapest, and the share of a request that fits into those before each."""
    order = np.lexsort((paid, groups.group))
    group, most = groups.group[order], groups.most[order]
    until = np.cumsum(most)
    begins = np.searchsorted(group, np.arange(len(groups.count)))
    before: Floats = until - most - (until - most)[begins][group]
    return order, before
