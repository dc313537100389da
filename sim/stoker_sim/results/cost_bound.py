"""How much can be on time at a cost, and at which cost a share is: a linear program that no schedule beats.

For each function, product and bucket of time (its edges are the arrivals and the ends of the objectives of the
function's requests): `h` replicas are ready at the bucket's end, `s` became ready in it and `e` ended, so that
h = h_before + s - e; `W` is the time held in it, ready; `z` is the share of a request that runs in it. Of any schedule
these hold, and so of the program's optimum being no less than what any schedule has on time:

- a request runs once at most, and within its window: sum of z <= 1, z only between arrival and objective;
- what is held is at least what runs (W >= sum of its time x z), and at least what was there and did not end
  (W >= length x (h_before - e));
- whoever runs a request was ready before its window or became ready in it: sum of its z <= h_before + sum of s;
- no more is ready of a product than there are devices for (h <= count, W <= length x count);
- nothing of a function is ready before its first request has come and one start is over: nobody knows of that one
  beforehand, and with minReplicas of zero nobody starts anything (left out where all is foreseen);
- each replica that becomes ready was paid for while it started: cost = price x (W + start x s);
- no hour costs more than the cap, for the hours that begin every 5 minutes, by the buckets that lie in them whole, and
  all of it no more than two caps (it lasts less than two hours).

Left out, so that the bound is above what can be: that replicas come whole, that functions share devices, probing,
planning and draining, and that requests but the first are known only when they come.
"""

from collections.abc import Mapping
from typing import Any

import highspy
import numpy as np

from stoker.cost.prices import HOUR_US
from stoker_sim.workload import Workload

_SLACK = 1e-6
"""Relative: more than the tolerances of the solver."""
_HOURS_EVERY_US = 300_000_000
_S = 1e6
_INF = highspy.kHighsInf


class _Rows:
    """A sparse program: columns and rows are added one after the other."""

    def __init__(self) -> None:
        self.worth: list[float] = []
        self.cost: list[float] = []
        self.lower: list[float] = []
        self.upper: list[float] = []
        self._index: list[int] = []
        self._value: list[float] = []
        self._begin = [0]

    def column(self, *, worth: float = 0.0, cost: float = 0.0) -> int:
        self.worth.append(worth)
        self.cost.append(cost)
        return len(self.worth) - 1

    def row(self, entries: Mapping[int, float], lower: float, upper: float) -> int:
        self._index += entries.keys()
        self._value += entries.values()
        self._begin.append(len(self._index))
        self.lower.append(lower)
        self.upper.append(upper)
        return len(self.lower) - 1

    def solver(self) -> Any:
        program = highspy.HighsLp()
        count = len(self.worth)
        program.num_col_, program.num_row_ = count, len(self.lower)
        program.col_cost_ = -np.array(self.worth)
        program.col_lower_, program.col_upper_ = np.zeros(count), np.full(count, _INF)
        program.row_lower_, program.row_upper_ = np.array(self.lower), np.array(self.upper)
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        program.a_matrix_.start_ = np.array(self._begin)
        program.a_matrix_.index_, program.a_matrix_.value_ = np.array(self._index), np.array(self._value)
        solver: Any = _Silent()  # type: ignore[no-untyped-call]
        for option, setting in {"threads": 1, "parallel": "off", "random_seed": 0}.items():
            solver.setOptionValue(option, setting)
        solver.passModel(program)
        return solver


class _Silent(highspy.Highs):
    """HiGHS prints a banner when it enables callbacks, before anyone could tell it to print nothing."""

    def enableCallbacks(self) -> Any:  # noqa: N802  the library's name
        self.silent()
        return super().enableCallbacks()  # type: ignore[no-untyped-call]


class CostBound:
    """Of one workload on devices at these rates (an hour of a replica by product), on so many replicas of each product
    at once. `foreseen`: the first request of a function is known beforehand, too.
    """

    def __init__(
        self, work: Workload, rates: Mapping[str, float], counts: Mapping[str, int], *, foreseen: bool = False
    ) -> None:
        self._rows = _Rows()
        self._counts = counts
        self._caps: dict[str, list[tuple[int, float]]] = {}
        """Rows that a function's cap bounds, and how many times it."""
        times = {product: work.exec_on(product) for product in rates}
        objectives = work.objectives_us()
        for number, function in enumerate(work.functions):
            mine = np.flatnonzero(work.function == number)
            windows = [
                (int(work.time_us[at]), int(work.time_us[at] + objectives[at]), {p: int(times[p][at]) for p in rates})
                for at in mine
            ]
            start_us = function.behaviour.cold_us
            known_us = 0 if foreseen or not windows else min(begin for begin, _, _ in windows)
            self._caps[function.key] = self._function(windows, start_us, known_us + start_us, rates)
        everything = {at: worth for at, worth in enumerate(self._rows.worth) if worth}
        self._served = self._rows.row(everything, -_INF, _INF)
        self._solver = self._rows.solver()

    def most(self, caps: Mapping[str, float]) -> float:
        """Requests on time at most, where each function may cost so much in any hour (no entry: anything)."""
        solver = self._solver
        for key, rows in self._caps.items():
            for row, times in rows:
                solver.changeRowBounds(row, -_INF, times * caps[key] * 1000 if key in caps else _INF)
        solver.changeRowBounds(self._served, -_INF, _INF)
        self._objective(self._rows.worth, -1.0)
        return -self._solved() * (1 + _SLACK)

    def least_cost(self, served: float) -> float:
        """What so many requests on time cost at least, without caps. `served`: no more than most({})."""
        solver = self._solver
        for rows in self._caps.values():
            for row, _ in rows:
                solver.changeRowBounds(row, -_INF, _INF)
        solver.changeRowBounds(self._served, served * (1 - _SLACK), _INF)
        self._objective(self._rows.cost, 1.0)
        return self._solved() / 1000 * (1 - _SLACK)

    def _objective(self, values: list[float], sign: float) -> None:
        count = len(values)
        self._solver.changeColsCost(count, np.arange(count, dtype=np.int32), sign * np.array(values))

    def _solved(self) -> float:
        self._solver.run()
        assert self._solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
        return float(self._solver.getInfo().objective_function_value)

    def _function(
        self, windows: list[tuple[int, int, dict[str, int]]], start_us: int, least_us: int, rates: Mapping[str, float]
    ) -> list[tuple[int, float]]:
        """Its part of the program, in seconds and thousandths of the currency. Returns the rows of its cap. Nothing is
        ready before `least_us`.
        """
        rows = self._rows
        edges = np.unique([edge for begin, end, _ in windows for edge in (max(begin, least_us), end)])
        edges = edges[edges >= least_us]
        spent: list[tuple[int, int, int, float]] = []
        """(begin, end, column, cost of one of it)."""
        once: list[dict[int, float]] = [{} for _ in windows]
        for product, per_hour in rates.items():
            price = per_hour / 3.6
            length = np.diff(edges) / _S
            held = [rows.column(cost=price) for _ in length]
            starts = [rows.column(cost=price * start_us / _S) for _ in length]
            ends = [rows.column() for _ in length]
            ready = [rows.column() for _ in length]
            runs: list[dict[int, float]] = [{} for _ in length]
            for at, (begin_us, end_us, exec_us) in enumerate(windows):
                took_us, from_us = exec_us[product], max(begin_us, least_us)
                if from_us + took_us > end_us:
                    continue
                first, last = np.searchsorted(edges, (from_us, end_us)).tolist()
                mine = [rows.column(worth=1.0) for _ in range(first, last)]
                for column, bucket in zip(mine, range(first, last), strict=True):
                    runs[bucket][column] = -took_us / _S
                once[at] |= dict.fromkeys(mine, 1.0)
                there = {starts[bucket]: -1.0 for bucket in range(first, last)}
                if first:
                    there[ready[first - 1]] = -1.0
                rows.row(there | dict.fromkeys(mine, 1.0), -_INF, 0.0)
            for bucket, seconds in enumerate(length.tolist()):
                before = {ready[bucket - 1]: 1.0} if bucket else {}
                rows.row(before | {starts[bucket]: 1.0, ends[bucket]: -1.0, ready[bucket]: -1.0}, 0.0, 0.0)
                rows.row({held[bucket]: 1.0} | runs[bucket], 0.0, _INF)
                rows.row({held[bucket]: 1.0}, 0.0, self._counts[product] * seconds)
                rows.row({ready[bucket]: 1.0}, 0.0, float(self._counts[product]))
                if bucket:
                    kept = {held[bucket]: 1.0, ready[bucket - 1]: -seconds, ends[bucket]: seconds}
                    rows.row(kept, 0.0, _INF)
                begin_us, end_us = int(edges[bucket]), int(edges[bucket + 1])
                spent.append((begin_us, end_us, held[bucket], price))
                spent.append((begin_us - start_us, end_us, starts[bucket], price * start_us / _S))
        for entries in once:
            if entries:
                rows.row(entries, -_INF, 1.0)
        return self._of_hours(spent)

    def _of_hours(self, spent: list[tuple[int, int, int, float]]) -> list[tuple[int, float]]:
        last_us = max((end_us for _, end_us, _, _ in spent), default=0)
        assert last_us <= 2 * HOUR_US, "the whole is to last less than two hours"
        found = [(self._rows.row({column: cost for _, _, column, cost in spent}, -_INF, _INF), 2.0)]
        for from_us in range(0, max(1, last_us - HOUR_US + _HOURS_EVERY_US), _HOURS_EVERY_US):
            within = {
                column: cost
                for begin_us, end_us, column, cost in spent
                if from_us <= begin_us and end_us <= from_us + HOUR_US
            }
            found.append((self._rows.row(within, -_INF, _INF), 1.0))
        return found
