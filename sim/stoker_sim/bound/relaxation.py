"""An upper bound on the weight on time for whole traces: a linear program over buckets of time (HiGHS).

Requests may be cut into pieces that run at once or apart, start-ups cost nothing after the first, and devices of a kind
are one pool; slots, memory, windows and the speed of products are kept. Valid for any bounds of the buckets: the share
of each request that runs in each bucket of a feasible schedule is a point of the program with the schedule's weight
(docs/concepts/yardstick.md has the proof). The program only proposes prices; the bound is computed from these
(`prices.py`), so that no tolerance of a solver is in it, and a long trace can be priced piece by piece.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import highspy
import numpy as np
from msgspec import Struct

from stoker_sim.bound.demand import Demand, Floats, Groups, Ints, grouped
from stoker_sim.bound.prices import Prices, ascended, bound_of, no_prices


class Grain(Struct, frozen=True, kw_only=True):
    """How finely time and requests are told apart: finer is tighter and takes longer. Every value gives a bound."""

    bucket_us: int | None = None
    """Width of the buckets; None: from event to event for at most EVENTFUL requests, else such that there are about
    `cells` cells."""
    cells: int | None = None
    """None: CELLS for each request and pool, at most MOST_CELLS."""
    exec_ratio: float = 1.02
    """Longest over shortest execution in a group, at most."""
    piece: int = 5_000
    """Cells that one program prices; it sees about as many on either side."""
    rounds: int = 0
    """Above 0: no program at all, but so many rounds of raising and lowering prices. Coarser, in bounded time."""


EVENTFUL = 400
"""Requests up to which the buckets are from event to event: no finer ones could do better."""
CELLS = 5
MOST_CELLS = 2_000_000
MOST_BUCKETS = 2_000_000
DEFAULT_GRAIN = Grain()

_SOLVER: Mapping[str, str | int] = MappingProxyType(
    {"threads": 1, "parallel": "off", "random_seed": 0, "solver": "simplex"}
)


class Ceiling(Struct, frozen=True, kw_only=True):
    """The bound and what it was computed with."""

    weight: int
    buckets: int
    groups: int
    cells: int
    programs: int


def ceiling(demand: Demand, *, cost_cap: int | None = None, grain: Grain = DEFAULT_GRAIN) -> Ceiling:
    """No schedule (that costs at most `cost_cap`) has more weight on time than the result's.

    The cap is used where one program sees the whole trace, and is ignored otherwise.
    """
    groups = grouped(demand, edges_of(demand, grain), grain.exec_ratio)
    pieces = [] if grain.rounds else _pieces(groups, grain.piece)
    if len(pieces) != 1:
        cost_cap = None
    proposed = ascended(demand, groups, grain.rounds) if grain.rounds else _proposed(demand, groups, pieces, cost_cap)
    best = min(bound_of(demand, groups, prices, cost_cap) for prices in (no_prices(demand, groups), proposed))
    return Ceiling(
        weight=best,
        buckets=len(groups.edges_us) - 1,
        groups=len(groups.count),
        cells=len(groups.group),
        programs=len(pieces),
    )


def edges_of(demand: Demand, grain: Grain) -> Ints:
    """Bounds of the buckets, from the first arrival to the last deadline."""
    if not len(demand.arrival_us):
        return np.array([0, 1], np.int64)
    begin, end = int(demand.arrival_us.min()), max(int(demand.deadline_us.max()), int(demand.arrival_us.min()) + 1)
    if grain.bucket_us is None and len(demand.arrival_us) <= EVENTFUL:
        ready = demand.ready_us[(demand.ready_us > begin) & (demand.ready_us < end)]
        return np.unique(np.concatenate((demand.arrival_us, demand.deadline_us, ready, [begin, end])))
    return np.append(np.arange(begin, end, grain.bucket_us or _width_us(demand, grain)), end)


def _width_us(demand: Demand, grain: Grain) -> int:
    """A request has as many cells as its window has widths, and up to two more, in each pool."""
    span_us = int(demand.deadline_us.max() - demand.arrival_us.min())
    pools = len(demand.pools)
    windows_us = pools * float(np.maximum(0, demand.deadline_us - demand.arrival_us).sum())
    requests = pools * len(demand.arrival_us)
    cells = min(MOST_CELLS, CELLS * requests) if grain.cells is None else grain.cells
    spare = max(cells // 2, cells - 2 * requests)
    return max(1, round(windows_us / spare), span_us // MOST_BUCKETS)


def _pieces(groups: Groups, most: int) -> list[tuple[int, int]]:
    """Ranges of buckets with about `most` cells each."""
    cells = np.bincount(groups.bucket, minlength=len(groups.edges_us) - 1)
    piece = np.cumsum(cells) // max(1, most)
    begins = np.flatnonzero(np.diff(piece, prepend=-1))
    return list(zip(begins.tolist(), [*begins[1:].tolist(), len(cells)], strict=True))


def _proposed(demand: Demand, groups: Groups, pieces: list[tuple[int, int]], cost_cap: int | None) -> Prices:
    """Prices of each piece's buckets from a program that sees as many buckets on either side."""
    prices = no_prices(demand, groups)
    money = 0.0
    by_bucket = np.argsort(groups.bucket, kind="stable")
    bucket = groups.bucket[by_bucket]
    for first, last in pieces:
        low, high = max(0, 2 * first - last), min(len(groups.edges_us) - 1, 2 * last - first)
        begin, end = np.searchsorted(bucket, (low, high))
        slot, memory, money = _solved(demand, groups, np.sort(by_bucket[begin:end]), (low, high), cost_cap)
        prices.slot[:, first:last] = slot[:, first - low : last - low]
        prices.memory[:, first:last] = memory[:, first - low : last - low]
    return Prices(slot=prices.slot, memory=prices.memory, money=money)


def _solved(
    demand: Demand, groups: Groups, cells: Ints, buckets: tuple[int, int], cost_cap: int | None
) -> tuple[Floats, Floats, float]:
    """Prices of slots and of memory by pool and bucket, and of money, from the program over these cells."""
    low, high = buckets
    length = np.diff(groups.edges_us[low : high + 1]).astype(float)
    slots, capacity = np.outer(demand.slots, length).ravel(), np.outer(demand.capacity, length).ravel()
    of_piece, group = np.unique(groups.group[cells], return_inverse=True)
    count = groups.count[of_piece]
    place = groups.pool[cells] * (high - low) + groups.bucket[cells] - low
    rows = _Rows(upper=count[group] * groups.most[cells])
    rows.add(group, np.ones(len(cells)), count)
    slot_rows = rows.add(place, groups.exec_us[cells] / slots[place], np.ones(len(slots)))
    memory_rows = rows.add(place, groups.held[cells] / np.maximum(1.0, capacity[place]), np.ones(len(slots)))
    money_row = np.zeros(0, np.int64)
    if cost_cap is not None:
        money_row = rows.add(np.zeros(len(cells), np.int64), groups.cost[cells] / max(1, cost_cap), np.ones(1))
    shadow = rows.shadow_prices(groups.weight[of_piece][group])
    shape = (len(demand.pools), high - low)
    return (
        (np.where(slot_rows < 0, 0.0, shadow[slot_rows]) / slots).reshape(shape),
        (np.where(memory_rows < 0, 0.0, shadow[memory_rows]) / np.maximum(1.0, capacity)).reshape(shape),
        float(shadow[money_row[money_row >= 0]].sum()) / max(1, cost_cap or 1),
    )


class _Rows:
    """The program: maximise worth * x where every row's sum is at most its limit and 0 <= x <= upper."""

    def __init__(self, upper: Floats) -> None:
        self._upper = upper
        self._row: list[Ints] = []
        self._column: list[Ints] = []
        self._value: list[Floats] = []
        self._limit: list[Floats] = []
        self._count = 0

    def add(self, row: Ints, value: Floats, limit: Floats) -> Ints:
        """One entry for each column, in rows numbered from 0. Returns the rows' numbers in the program, or -1 for
        those left out because no x can exceed their limit.
        """
        reach = np.bincount(row, value * self._upper, minlength=len(limit))
        binding = np.flatnonzero(reach > limit * (1 + 1e-12))
        number = np.full(len(limit), -1)
        number[binding] = np.arange(self._count, self._count + len(binding))
        columns = np.flatnonzero(number[row] >= 0)
        self._row.append(number[row[columns]])
        self._column.append(columns)
        self._value.append(value[columns])
        self._limit.append(limit[binding])
        self._count += len(binding)
        return number

    def shadow_prices(self, worth: Floats) -> Floats:
        """Of each row, at least 0; one 0 more at the end, for the number -1. All 0 where the solver gives none."""
        if not self._count:
            return np.zeros(1)
        row, column, value = np.concatenate(self._row), np.concatenate(self._column), np.concatenate(self._value)
        order = np.lexsort((row, column))
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = len(worth), self._count
        program.col_cost_, program.col_lower_, program.col_upper_ = -worth, np.zeros(len(worth)), self._upper
        program.row_lower_ = np.full(self._count, -highspy.kHighsInf)
        program.row_upper_ = np.concatenate(self._limit)
        program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        program.a_matrix_.start_ = np.searchsorted(column[order], np.arange(len(worth) + 1))
        program.a_matrix_.index_ = row[order]
        program.a_matrix_.value_ = value[order]
        solver = _Silent()  # type: ignore[no-untyped-call]
        for option, setting in _SOLVER.items():
            solver.setOptionValue(option, setting)
        solver.passModel(program)
        solver.run()
        duals = np.array(solver.getSolution().row_dual)
        if len(duals) != self._count or not np.isfinite(duals).all():
            return np.zeros(self._count + 1)
        return np.append(np.maximum(0.0, -duals), 0.0)


class _Silent(highspy.Highs):
    """HiGHS prints a banner when it enables callbacks, which it does before anyone could tell it to print nothing."""

    def enableCallbacks(self) -> Any:  # noqa: N802  the library's name
        self.silent()
        return super().enableCallbacks()  # type: ignore[no-untyped-call]
