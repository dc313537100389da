"""Demand over all gateways: the newest snapshot of each, added up. Level-triggered, so nothing of it is stored.

A gateway that is gone takes what it held with it; that somebody called a function is remembered for as long as the
function exists, or a gateway's restart would put every function to sleep. Knows no connection.
"""

from collections.abc import Iterable

from stoker.model.demand import Demand, VariantDemand, new_arrivals
from stoker.model.function import Variant
from stoker.wire.cluster import DemandFrame

SAME_WAKE_US = 1_000_000
"""Wakes that are told this near to one another are one: it is told as an age, and each heartbeat takes differently
long to come."""


class DemandBoard:
    """Times are microseconds on the operator's monotonic clock."""

    def __init__(self) -> None:
        self._frames: dict[str, tuple[DemandFrame, int]] = {}
        self._last_wake_us: dict[tuple[str, Variant], int] = {}
        self._told: dict[str, dict[tuple[str, Variant], int]] = {}
        """Of each gateway that speaks, its counters of arrivals as last told."""
        self._arrivals: dict[tuple[str, Variant], int] = {}
        """What they add up to: a sum of the counters would fall and jump with each gateway that goes and comes."""

    def heard(self, gateway: str, frame: DemandFrame, now_us: int) -> None:
        """The newest snapshot of one gateway."""
        self._frames[gateway] = (frame, now_us)
        told = self._told.setdefault(gateway, {})
        for key, variants in frame.functions.items():
            for variant, report in variants.items():
                pair = (key, variant)
                came = new_arrivals(told.get(pair), report.arrivals, report.in_system)
                told[pair] = report.arrivals
                self._arrivals[pair] = self._arrivals.get(pair, 0) + came
                if report.last_wake_ms is not None:
                    at_us = now_us - report.last_wake_ms * 1_000
                    last_us = self._last_wake_us.get(pair)
                    if last_us is None or at_us - last_us >= SAME_WAKE_US:
                        self._last_wake_us[pair] = at_us

    def lost(self, gateway: str) -> None:
        """It says nothing any more: it holds nobody for us."""
        self._frames.pop(gateway, None)
        self._told.pop(gateway, None)

    def last(self, gateway: str) -> DemandFrame | None:
        """The last snapshot of a gateway."""
        entry = self._frames.get(gateway)
        return None if entry is None else entry[0]

    def knows(self, gateway: str) -> bool:
        """Whether it has spoken."""
        return gateway in self._frames

    def keep_only(self, functions: Iterable[str]) -> None:
        """Forget the wakes and arrivals of functions that are no more."""
        known = set(functions)
        for counted in (self._last_wake_us, self._arrivals, *self._told.values()):
            for pair in [pair for pair in counted if pair[0] not in known]:
                del counted[pair]

    def demand(self) -> Demand:
        """All of it as of now."""
        found: dict[str, dict[Variant, VariantDemand]] = {}
        for (key, variant), woken_us in self._last_wake_us.items():
            came = self._arrivals.get((key, variant), 0)
            found.setdefault(key, {})[variant] = VariantDemand(last_wake_us=woken_us, arrivals=came)
        for frame, heard_us in self._frames.values():
            for key, variants in frame.functions.items():
                for variant, report in variants.items():
                    of_function = found.setdefault(key, {})
                    before = of_function.get(variant, VariantDemand())
                    oldest_us = before.oldest_held_us
                    if report.oldest_held_ms is not None:
                        at_us = heard_us - report.oldest_held_ms * 1_000
                        oldest_us = at_us if oldest_us is None else min(at_us, oldest_us)
                    of_function[variant] = VariantDemand(
                        held=before.held + report.held,
                        # What is queued or runs, agents report themselves, and sooner: added up from two gateways,
                        # a call that has just ended at one and the next at the other would look like two at a time.
                        in_system=before.in_system + report.held,
                        last_wake_us=before.last_wake_us,
                        oldest_held_us=oldest_us,
                        arrivals=self._arrivals.get((key, variant), 0),
                    )
        return found
