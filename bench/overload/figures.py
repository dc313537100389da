"""What became of the requests of a run, by function, as their clients saw it. Pure; definitions are DESIGN 7's.

On time: answered 200 within the objective, counted from when the request was due to be sent. Useful GPU time: what
the requests that were on time on a GPU asked for, not what they took. Admitted: all that were not refused at admission;
what was dropped or shed from a queue afterwards (clients cannot tell that from a refusal: the platform counts it),
expired or failed was admitted and is a miss.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bench.overload.arrivals import Arrivals
from bench.overload.calls import Attempt
from bench.overload.functions import SLOTS, Served
from stoker_sim.evaluate.max_min import max_min

_REFUSED = (429, 503)
_CPU = "cpu"


class OfFunction(Struct, frozen=True, kw_only=True):
    """Requests and GPU-seconds of one function."""

    name: str
    percentile: float
    weight: int
    offered: int
    admitted: int
    on_time: int
    on_time_cpu: int
    """Of those on time: on its CPU variant."""
    admitted_cpu: int
    """Served by its CPU variant."""
    late: int
    """Answered 200 after the objective."""
    refused: int
    """At admission or later."""
    dropped: int
    """Of those: later."""
    lost: int
    """Neither served nor refused: expired, failed, client gone."""
    offered_gpu_s: float
    useful_gpu_s: float
    useful_s: float
    """On time wherever it ran, in the GPU time that it would have taken."""
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    """Of those served."""

    @property
    def conditional(self) -> float | None:
        """On time over admitted."""
        return self.on_time / self.admitted if self.admitted else None


class OfRun(Struct, frozen=True, kw_only=True):
    """All functions together, over the window that counts."""

    seconds: float
    functions: list[OfFunction]
    refusal_p50_ms: float | None
    refusal_p99_ms: float | None
    """From when a request that is refused was due to its whole answer."""
    added_p50_ms: float | None
    added_p99_ms: float | None
    """Of those served: latency without queue and execution as the platform tells them (Server-Timing)."""
    used_gpu_s: float
    """Executions on GPUs, as the platform tells them."""
    wasted_gpu_s: float
    """Of that: of answers that were late."""
    reasons: dict[str, int]
    """Of those not served."""

    @property
    def offered(self) -> int:
        return sum(one.offered for one in self.functions)

    @property
    def on_time(self) -> int:
        return sum(one.on_time for one in self.functions)

    @property
    def attainment(self) -> float:
        return self.on_time / self.offered if self.offered else 1.0

    @property
    def goodput(self) -> float:
        """Useful GPU-seconds per second on GPUs; SLOTS would be all."""
        return sum(one.useful_gpu_s for one in self.functions) / self.seconds

    @property
    def everywhere(self) -> float:
        """The same of all that were on time, those on CPUs too."""
        return sum(one.useful_s for one in self.functions) / self.seconds

    @property
    def late_share(self) -> float:
        return sum(one.late for one in self.functions) / max(1, self.offered)

    @property
    def wasted_share(self) -> float:
        """Of the GPU time that was used."""
        return self.wasted_gpu_s / self.used_gpu_s if self.used_gpu_s else 0.0


def of_run(
    served: Sequence[Served],
    arrivals: Arrivals,
    attempts: Sequence[Attempt],
    *,
    from_us: int = 0,
    to_us: int,
    dropped: Sequence[int] = (),
) -> OfRun:
    """Of the calls that were due in the window, by their first attempts. `dropped`: by function, how many were refused
    after they had been admitted.
    """
    rows = _Rows(served, arrivals, [one for one in attempts if one.number == 0])
    rows.keep((rows.due_us >= from_us) & (rows.due_us < to_us))
    ok, refused = rows.ok, rows.refused
    return OfRun(
        seconds=(to_us - from_us) / 1e6,
        functions=[
            _of_function(one, rows, rows.stream == number, dropped[number] if dropped else 0)
            for number, one in enumerate(served)
        ],
        refusal_p50_ms=_quantile(rows.took_us[refused], 0.5),
        refusal_p99_ms=_quantile(rows.took_us[refused], 0.99),
        added_p50_ms=_quantile(rows.added_us[ok], 0.5),
        added_p99_ms=_quantile(rows.added_us[ok], 0.99),
        used_gpu_s=_sum(rows.exec_us[ok & ~rows.cpu]) / 1e6,
        wasted_gpu_s=_sum(rows.exec_us[ok & ~rows.cpu & ~rows.on_time]) / 1e6,
        reasons=rows.reasons(),
    )


def shares(run: OfRun, capacity: float) -> list[float]:
    """What each function was served on time, wherever that was, over its weighted max-min share of `capacity`
    (GPU-seconds per second). Who is served on cores instead of a GPU has what it asked for.
    """
    demand = np.array([one.offered_gpu_s for one in run.functions]) / run.seconds
    weight = np.array([float(one.weight) for one in run.functions])
    fair = max_min(np.zeros(len(demand), np.int64), demand, weight, np.array([capacity]))
    got = np.array([one.useful_s for one in run.functions]) / run.seconds
    return [float(value) for value in np.where(fair > 0, got / np.maximum(fair, 1e-12), 1.0)]


def most() -> float:
    """GPU-seconds per second that there are."""
    return float(SLOTS)


class _Rows:
    """First attempts as columns."""

    def __init__(self, served: Sequence[Served], arrivals: Arrivals, firsts: Sequence[Attempt]) -> None:
        call = np.array([one.call for one in firsts], np.int64)
        self.stream = arrivals.stream[call]
        self.units = arrivals.units[call]
        self.due_us = np.array([one.due_us for one in firsts], np.int64)
        self.took_us = np.array([one.ended_us - one.due_us for one in firsts], np.int64)
        self.exec_us = np.array([one.exec_us for one in firsts], np.int64)
        queue_us = np.array([one.queue_us for one in firsts], np.int64)
        sent_us = np.array([one.ended_us - one.sent_us for one in firsts], np.int64)
        self.added_us = sent_us - queue_us - self.exec_us
        status = np.array([one.status for one in firsts], np.int64)
        self.ok = status == 200
        self.cpu = np.array([one.device.startswith(_CPU) for one in firsts], bool)
        self._reason = np.array([one.reason or str(one.status) for one in firsts], object)
        self.refused = np.isin(status, _REFUSED)
        objective_us = np.array([1000 * one.latency_ms for one in served], np.int64)
        self.on_time = self.ok & (self.took_us <= objective_us[self.stream])

    def keep(self, mask: NDArray[np.bool_]) -> None:
        for name, column in vars(self).items():
            setattr(self, name, column[mask])

    def reasons(self) -> dict[str, int]:
        names, counts = np.unique(self._reason[~self.ok].astype(str), return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _of_function(one: Served, rows: _Rows, mine: NDArray[np.bool_], dropped: int) -> OfFunction:
    ok, on_time = mine & rows.ok, mine & rows.on_time
    refused = mine & rows.refused
    dropped = min(dropped, int(refused.sum()))
    return OfFunction(
        name=one.name,
        percentile=one.percentile,
        weight=one.weight,
        offered=int(mine.sum()),
        admitted=int(mine.sum() - refused.sum()) + dropped,
        on_time=int(on_time.sum()),
        on_time_cpu=int((on_time & rows.cpu).sum()),
        admitted_cpu=int((ok & rows.cpu).sum()),
        late=int((ok & ~rows.on_time).sum()),
        refused=int(refused.sum()),
        dropped=dropped,
        lost=int((mine & ~rows.ok & ~rows.refused).sum()),
        offered_gpu_s=_sum(rows.units[mine]) / 1000,
        useful_gpu_s=_sum(rows.units[on_time & ~rows.cpu]) / 1000,
        useful_s=_sum(rows.units[on_time]) / 1000,
        latency_p50_ms=_quantile(rows.took_us[ok], 0.5),
        latency_p99_ms=_quantile(rows.took_us[ok], 0.99),
    )


def _sum(values: NDArray[np.generic]) -> float:
    return float(values.astype(float).sum())


def _quantile(us: NDArray[np.int64], part: float) -> float | None:
    """In milliseconds."""
    return float(np.quantile(us, part)) / 1000 if len(us) else None
