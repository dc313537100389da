"""How functions fare, for their status: attainment over all gateways in a sliding window, and measured run times.

Gateways count since they began; what is new since the last word of each goes into slots of time. Told the time, reads
none.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from stoker.model.function import Variant
from stoker.model.status import Condition
from stoker.reasons import Reason
from stoker.wire.cluster import DemandFrame, ProfileReport, SloReport

SLOTS = 60
SLOT_US = 10_000_000
WINDOW = "10m"
"""SLOTS of SLOT_US, as the API writes it."""
_NONE = SloReport(offered=0)


class Attainment(Struct, frozen=True):
    """Of one function in the window."""

    offered: int
    on_time: int
    diverted: int = 0

    @property
    def diverted_percent(self) -> float | None:
        """Of the offered requests, those that ran on the CPU variant although there is a GPU; None: none did."""
        return round(100 * self.diverted / self.offered, 1) if self.diverted else None

    @property
    def percent(self) -> float:
        """Of the offered requests, those that were on time."""
        return round(100 * self.on_time / self.offered, 1)

    def with_more(self, other: "Attainment") -> "Attainment":
        """Of both together."""
        return Attainment(self.offered + other.offered, self.on_time + other.on_time, self.diverted + other.diverted)

    def condition(self, percentile: float) -> Condition | None:
        """SloMet; None while too few requests came to say (DESIGN 7: fewer than 3 / (1 - p))."""
        if self.offered * (100 - percentile) < 300:
            return None
        met = self.on_time * 100 >= percentile * self.offered
        return Condition(
            type="SloMet",
            status=met,
            reason=Reason.SLO_MET if met else Reason.SLO_MISSED,
            message=f"{self.percent:g} % of the requests of {WINDOW} were on time; {percentile:g} % are wanted",
        )


class SloBoard:
    """Times are microseconds on the operator's monotonic clock."""

    def __init__(self) -> None:
        self._last: dict[str, dict[str, SloReport]] = {}
        """By gateway, its last word; a function that is not in it was not called there."""
        self._slots: dict[str, deque[tuple[int, Attainment]]] = {}

    def heard(self, gateway: str, frame: DemandFrame, now_us: int) -> None:
        """The newest counts of one gateway. Its first word says from where to count: nobody knows when that came."""
        last = self._last.get(gateway)
        self._last[gateway] = frame.slo
        if last is None:
            return
        for key, counts in frame.slo.items():
            before = last.get(key, _NONE)
            if counts.offered < before.offered:
                before = _NONE  # it began anew
            new = Attainment(
                counts.offered - before.offered, counts.on_time - before.on_time, counts.diverted - before.diverted
            )
            if new.offered > 0:
                self._add(key, now_us // SLOT_US, new)

    def gone(self, gateway: str) -> None:
        """It is no more; what it counted stays in the window."""
        self._last.pop(gateway, None)

    def keep_only(self, functions: Iterable[str]) -> None:
        """Forget functions that are no more."""
        known = set(functions)
        for key in [key for key in self._slots if key not in known]:
            del self._slots[key]

    def functions(self) -> Iterable[str]:
        """Those that were called."""
        return tuple(self._slots)

    def attainment(self, key: str, now_us: int) -> Attainment | None:
        """What came in the window, and what of it was on time; None without any."""
        slots = self._slots.get(key)
        if slots is None:
            return None
        while slots and slots[0][0] <= now_us // SLOT_US - SLOTS:
            slots.popleft()
        total = Attainment(0, 0)
        for _, counts in slots:
            total = total.with_more(counts)
        return total if total.offered else None

    def _add(self, key: str, index: int, new: Attainment) -> None:
        slots = self._slots.setdefault(key, deque(maxlen=SLOTS))
        if slots and slots[-1][0] == index:
            new = new.with_more(slots.pop()[1])
        slots.append((index, new))


def merged_profiles(reports: Iterable[ProfileReport], start_ms: Mapping[Variant, int]) -> list[dict[str, Any]]:
    """`status.profile`: of each variant and product what the agent with most samples has measured."""
    best: dict[tuple[Variant, str], ProfileReport] = {}
    for report in reports:
        slot = (report.variant, report.product)
        if slot not in best or report.samples > best[slot].samples:
            best[slot] = report
    return [
        {
            "variant": variant.value,
            "product": product,
            "execP50Ms": _coarse(report.p50_ms),
            "execP99Ms": _coarse(report.p99_ms),
            "samples": report.samples,
            **({"startMs": {"cold": start_ms[variant]}} if variant in start_ms else {}),
        }
        for (variant, product), report in sorted(best.items())
    ]


def _coarse(value_ms: float) -> float:
    """Three digits: more would be written again and again and tell nobody anything."""
    return float(f"{value_ms:.3g}")
