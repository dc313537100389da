"""What the platform expects a run or a start-up to take: windows of the last samples, and what they make of a queue.

An execution is predicted by its mean among runs that had about as many beside them on the device (a bucket of
executions in flight). How far a whole predicted finish time may be off is calibrated beside it (stoker.calibration).
What was never measured is an explicit prior (`samples == 0`), never zero. The shells observe and ask; nothing here
reads a clock, and times are whole microseconds.
"""

from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from stoker.calibration import Calibration
from stoker.model.function import Function, Variant
from stoker.sizing.service_time import ServiceTime, of_sums, pooled

WINDOW = 64
"""Samples that a mean is over: old ones leave, so that a change of the workload shows soon."""
EXEC_PRIOR_CAP_US = 1_000_000
START_PRIOR_CAP_US = 10_000_000


class Estimate(Struct, frozen=True):
    """A predicted duration, at least 1 us, and how many measurements stand behind it (0: a prior)."""

    us: int
    samples: int


class ExecProfile(Struct, frozen=True, kw_only=True):
    """What the last runs of one variant took on one product."""

    variant: Variant
    product: str
    p50_us: int
    p99_us: int
    samples: int
    mean_us: int
    deviation_us: int
    """Standard deviation."""


class _Window:
    """The last WINDOW samples of one thing, and the mean that it had before they were cleared."""

    __slots__ = ("carried_us", "quantiles_us", "samples", "squares", "total_us")

    def __init__(self) -> None:
        self.samples: deque[int] = deque(maxlen=WINDOW)
        self.total_us = 0
        self.squares = 0
        """The sum of their squares."""
        self.carried_us: int | None = None
        self.quantiles_us: tuple[int, int] | None = None
        """Median and 99th percentile of the samples, while they are known."""

    def observe(self, us: int) -> None:
        us = max(1, us)
        if len(self.samples) == WINDOW:
            self.total_us -= self.samples[0]
            self.squares -= self.samples[0] ** 2
        self.samples.append(us)
        self.total_us += us
        self.squares += us**2
        self.quantiles_us = None

    def mean_us(self) -> int | None:
        """The mean of the samples, else the one from before the last reset, else None."""
        return self.total_us // len(self.samples) if self.samples else self.carried_us

    def quantiles(self) -> tuple[int, int]:
        """Median and 99th percentile (nearest rank) of at least one sample."""
        if self.quantiles_us is None:
            ordered = sorted(self.samples)
            count = len(ordered)
            self.quantiles_us = (ordered[(count - 1) // 2], ordered[-(-99 * count // 100) - 1])
        return self.quantiles_us

    def reset(self) -> None:
        self.quantiles_us = None
        self.carried_us = self.mean_us()
        self.samples.clear()
        self.total_us = self.squares = 0

    def service(self) -> ServiceTime | None:
        """Mean and spread; None without samples."""
        return of_sums(len(self.samples), self.total_us, self.squares)


class _Execs:
    """Execution times of one variant on one product: of all its runs, and by bucket of executions in flight."""

    __slots__ = ("buckets", "every")

    def __init__(self) -> None:
        self.every = _Window()
        self.buckets: dict[int, _Window] = {}

    def observe(self, us: int, in_flight: int) -> None:
        self.every.observe(us)
        bucket = bucket_of(in_flight)
        window = self.buckets.get(bucket)
        if window is None:
            window = self.buckets[bucket] = _Window()
        window.observe(us)

    def best(self, in_flight: int | None) -> "_Window":
        """The window of the bucket if it has been seen at all, else that of all runs."""
        window = None if in_flight is None else self.buckets.get(bucket_of(in_flight))
        return self.every if window is None or not window.samples else window

    def reset(self) -> None:
        self.every.reset()
        self.buckets.clear()


class _Profile:
    """All windows of one function."""

    __slots__ = ("execs", "starts")

    def __init__(self) -> None:
        self.execs: dict[Variant, dict[str, _Execs]] = {}
        self.starts: dict[Variant, _Window] = {}


def bucket_of(in_flight: int) -> int:
    """The bucket of a run by how many executions its device has in flight with it, itself included, at its dispatch:
    1, 2, 3-4, 5-8, ... (ours: contention grows with each, and doubling keeps every bucket filled).
    """
    return max(0, in_flight - 1).bit_length()


class Predictions:
    """Execution times by (function, variant, product, executions in flight), start-up times by (function, variant), and
    the calibration of whole finish times by function.

    One object that the agent writes and others read. Memory is bounded by the functions not forgotten: forget() one
    after its last replica has gone, since an observation that comes later opens its profile again.
    """

    def __init__(self) -> None:
        self._profiles: dict[str, _Profile] = {}
        self._calibration = Calibration()

    def observe_exec(self, key: str, variant: Variant, product: str, us: int, in_flight: int = 1) -> None:
        """A request of function `key` ran for `us` on a device of `product` that had `in_flight` executions, this one
        included, when it was dispatched.
        """
        by_product = self._profile(key).execs.setdefault(variant, {})
        execs = by_product.get(product)
        if execs is None:
            execs = by_product[product] = _Execs()
        execs.observe(us, in_flight)

    def observe_finish(self, key: str, percentile: float, predicted_us: int, actual_us: int) -> bool:
        """A request of function `key` ended `actual_us` after it was queued; given the work that in fact ran before
        it, `predicted_us` was expected (stoker.slots.arrangement). Whether the margin so far covered that.
        """
        return self._calibration.observe(key, percentile, predicted_us, actual_us)

    def margin_ppm(self, key: str, percentile: float) -> int:
        """What to add to a predicted finish time, in millionths of it, so that `percentile` of the requests keep it."""
        return self._calibration.margin_ppm(key, percentile)

    def coverage(self) -> dict[str, tuple[int, int]]:
        """Finish times observed of each function, and those within the margin that was calibrated before them."""
        return self._calibration.coverage()

    def observe_start(self, key: str, variant: Variant, us: int) -> None:
        """A replica of function `key` took `us` from its start to ready."""
        self._profile(key).starts.setdefault(variant, _Window()).observe(us)

    def exec_us(
        self, function: Function, variant: Variant, product: str | None = None, in_flight: int | None = None
    ) -> Estimate:
        """How long a run will take: on `product`, or on whatever it has run on (None), with `in_flight` executions on
        the device, itself included, or with as many as there were (None).

        A product that it never ran on takes the mean of the others as a prior; a function that never ran takes half
        of its objective, at most 1 s.
        """
        profile = self._profiles.get(function.key)
        execs = profile.execs.get(variant, {}) if profile else {}
        mine = execs.get(product) if product is not None else None
        window = mine.best(in_flight) if mine is not None else None
        if window is not None and (mean_us := window.mean_us()) is not None:
            return Estimate(mean_us, len(window.samples))
        pooled = _pool([one.best(in_flight) for one in execs.values()])
        if pooled is None:
            return Estimate(max(1, min(function.spec.slo.latency_us // 2, EXEC_PRIOR_CAP_US)), 0)
        return pooled if product is None else Estimate(pooled.us, 0)

    def service(self, key: str, variant: Variant) -> ServiceTime | None:
        """Mean and spread of the last runs of a variant over all products; None while it has none at its revision."""
        profile = self._profiles.get(key)
        by_product = profile.execs.get(variant, {}) if profile else {}
        parts = [took for execs in by_product.values() if (took := execs.every.service()) is not None]
        return pooled(parts) if parts else None

    def start_us(self, function: Function, variant: Variant) -> Estimate:
        """How long a start-up will take, cold to warm. Never started: startupTimeout, at most 10 s."""
        profile = self._profiles.get(function.key)
        window = profile.starts.get(variant) if profile else None
        if window is not None and (mean_us := window.mean_us()) is not None:
            return Estimate(mean_us, len(window.samples))
        timeout_us = function.container_of(variant).startup_timeout_us
        return Estimate(max(1, min(timeout_us, START_PRIOR_CAP_US)), 0)

    def starts_us(self) -> dict[str, dict[Variant, int]]:
        """Mean start-up of all that was started at its present revision, by function and variant."""
        found: dict[str, dict[Variant, int]] = {}
        for key, profile in self._profiles.items():
            for variant, window in profile.starts.items():
                if window.samples:
                    found.setdefault(key, {})[variant] = window.total_us // len(window.samples)
        return found

    def profiles(self) -> dict[str, tuple[ExecProfile, ...]]:
        """What was measured of each function at its present revision, for people; only what has samples."""
        found: dict[str, tuple[ExecProfile, ...]] = {}
        for key, profile in self._profiles.items():
            known = tuple(
                ExecProfile(
                    variant=variant,
                    product=product,
                    p50_us=p50,
                    p99_us=p99,
                    samples=took.samples,
                    mean_us=took.mean_us,
                    deviation_us=took.deviation_us,
                )
                for variant, by_product in profile.execs.items()
                for product, execs in by_product.items()
                if (took := execs.every.service()) is not None
                for p50, p99 in (execs.every.quantiles(),)
            )
            if known:
                found[key] = known
        return found

    def reset(self, key: str) -> None:
        """A new revision runs: measurements of the old one are its prior, and count as no samples."""
        profile = self._profiles.get(key)
        if profile is None:
            return
        for by_product in profile.execs.values():
            for execs in by_product.values():
                execs.reset()
        for window in profile.starts.values():
            window.reset()

    def forget(self, key: str) -> None:
        """The function was deleted; one made later under its name starts from the priors."""
        self._profiles.pop(key, None)
        self._calibration.forget(key)

    def _profile(self, key: str) -> _Profile:
        profile = self._profiles.get(key)
        if profile is None:
            profile = self._profiles[key] = _Profile()
        return profile


def _pool(windows: Sequence[_Window]) -> Estimate | None:
    """The mean over all samples of several windows; without samples, of the carried means."""
    samples = sum(len(window.samples) for window in windows)
    if samples:
        return Estimate(sum(window.total_us for window in windows) // samples, samples)
    carried = [window.carried_us for window in windows if window.carried_us is not None]
    return Estimate(sum(carried) // len(carried), 0) if carried else None


def predict_wait_us(running_remaining_us: Sequence[int], work_ahead_us: int, servers: int) -> int:
    """How long until one of `servers` slots is free for a request that has `work_ahead_us` queued before it.

    The queued work is poured over the slots like water, the soonest free one first, so a free slot means no wait
    and one slot means remaining + work ahead. A run past its prediction counts as ending now. No slot counts as one:
    the caller adds the start-up that will make it.
    """
    servers = max(1, servers)
    busy_us = sorted(max(0, remaining) for remaining in running_remaining_us)
    # More runs than slots (a replica is draining): the first ends free nothing.
    free_us = [0] * (servers - len(busy_us)) + busy_us[max(0, len(busy_us) - servers) :]
    poured_us = max(0, work_ahead_us)
    level_us = free_us[0]
    for filled in range(1, servers):
        step_us = (free_us[filled] - level_us) * filled
        if step_us >= poured_us:
            return level_us - (-poured_us // filled)
        poured_us -= step_us
        level_us = free_us[filled]
    return level_us - (-poured_us // servers)
