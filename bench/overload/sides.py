"""What the curve is made of: one run at each load, with admission and without."""

from msgspec import Struct

from bench.overload.figures import OfRun


class Point(Struct, frozen=True, kw_only=True):
    """One run."""

    factor: float
    """Of the capacity."""
    load: float
    per_second: float
    """Requests offered."""
    run: OfRun
    promises: list[tuple[int, int]]
    """By function: promised to be on time, and broken, as the platform counts; of the warm-up too."""
    bound: float
    """No schedule has more useful GPU-seconds per second, those on CPUs included."""
    served: int
    refused: int
    """Of the whole run, warm-up included: what `cpu_s` was used for."""
    cpu_s: float
    seconds: float
    """In which requests came, warm-up included."""
    waited_s: float
    """The platform was ready to run in that time and did not: others had its core."""
    peak_mib: float
    lag_p99_ms: float
    valid: bool


class Side(Struct, frozen=True, kw_only=True):
    """With admission, or without."""

    points: list[Point]

    @property
    def peak(self) -> float:
        return max(point.run.goodput for point in self.points)

    def at(self, factor: float) -> Point:
        return next(point for point in self.points if point.factor == factor)


class Curve(Struct, frozen=True, kw_only=True):
    """Both sides of it."""

    on: Side
    off: Side
    capacity: float
    """Load."""
    on_time: float
    """There."""
    seconds: float
    """Of each run, without its warm-up."""
    warm_up_s: float


def cpu_per_refusal_ms(side: Side) -> float | None:
    """What one more refused request costs the process of gateway and agent: between 2 and 10 times the capacity, where
    as much is served. What served ones cost beyond that is taken off, at what they cost at half the capacity.
    """
    low, high, light = side.at(2), side.at(10), side.points[0]
    more = high.refused - low.refused
    if more <= 0 or not light.served:
        return None
    each_s = light.cpu_s / light.served
    return 1000 * (high.cpu_s - low.cpu_s - each_s * (high.served - low.served)) / more
