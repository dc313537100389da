"""What `stoker serve` remembers of requests: the newest records, and tallies by function since the start.

Fed by the gateway at the end of each request; bounded in records and in functions. Decides nothing.
"""

from collections import deque
from statistics import median

from msgspec import Struct, field

from stoker.decisions import RequestRecord
from stoker.model.function import Variant
from stoker.reasons import Outcome, Reason
from stoker_gateway.record_ring import RecordRing

_RECENT = 256
"""Executions that the median is taken over: enough to be steady, few enough to follow a change within minutes."""


class Tally(Struct):
    """Counts of one function since the start (DESIGN 7: refused, expired, failed and late are all misses)."""

    offered: int = 0
    """All that ended, except those that the client gave up itself."""
    on_time: int = 0
    late: int = 0
    refused: int = 0
    expired: int = 0
    failed: int = 0
    cold: int = 0
    """Requests that found no warm replica."""
    diverted: dict[str, int] = field(default_factory=dict)
    """Those that ran on the CPU variant although there is a GPU, by why (stoker.reasons.DeviceReason)."""
    refusals: dict[str, int] = field(default_factory=dict)
    """Those that were refused, by why (stoker.reasons.Reason)."""
    recent_exec_us: dict[Variant, deque[int]] = field(default_factory=dict)

    def count(self, record: RequestRecord) -> None:
        if record.on_time is None:  # health and metadata paths are not scored
            return
        if record.cold:
            self.cold += 1
        if record.reason is Reason.CLIENT_GONE:
            return
        self.offered += 1
        if record.diverted and record.device and record.device_reason is not None:
            why = record.device_reason
            self.diverted[why] = self.diverted.get(why, 0) + 1
        if record.outcome is Outcome.SERVED:
            if record.on_time:
                self.on_time += 1
            else:
                self.late += 1
            if record.exec_us is not None and record.variant is not None:
                self.recent_exec_us.setdefault(record.variant, deque(maxlen=_RECENT)).append(record.exec_us)
        elif record.outcome is Outcome.REFUSED:
            self.refused += 1
            if record.reason is not None:
                self.refusals[record.reason] = self.refusals.get(record.reason, 0) + 1
        elif record.outcome is Outcome.EXPIRED:
            self.expired += 1
        else:
            self.failed += 1

    def exec_p50_ms(self, variant: Variant) -> float | None:
        """Median execution time of the newest requests, or None before the first."""
        recent = self.recent_exec_us.get(variant)
        return round(median(recent) / 1000, 3) if recent else None


class Records:
    """The newest `kept` records by request id, and the tallies."""

    def __init__(self, kept: int) -> None:
        self.kept = kept
        self._ring = RecordRing(kept)
        self._tallies: dict[str, Tally] = {}

    def __len__(self) -> int:
        return len(self._ring)

    def add(self, record: RequestRecord) -> None:
        """Remember a request that ended."""
        self._ring.add(record)
        tally = self._tallies.get(record.function)
        if tally is not None:
            tally.count(record)

    def get(self, request_id: str) -> RequestRecord | None:
        """The record of a request; None for one that is unknown or was forgotten."""
        return self._ring.get(request_id)

    def tally(self, function: str) -> Tally:
        """Of one function; all zero for one that is not tracked."""
        return self._tallies.get(function) or Tally()

    def track(self, functions: set[str]) -> None:
        """Keep tallies of exactly these. Paths that name no function must not make a tally each."""
        for gone in self._tallies.keys() - functions:
            del self._tallies[gone]
        for new in functions - self._tallies.keys():
            self._tallies[new] = Tally()
