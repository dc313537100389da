"""The books of a gateway: each request that ended becomes one record, its counts, and a log line if it went badly.

A warm request that is on time costs a record and three counts, and no log line.
"""

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime

import structlog

from stoker.decisions import RequestRecord, Step
from stoker.metrics import (
    COLD_ON_TIME,
    COLD_REQUESTS,
    DIVERTED,
    HELD_SECONDS,
    LATE,
    OFFERED,
    ON_TIME,
    REQUEST_SECONDS,
    REQUESTS,
    MetricsSink,
)
from stoker.model.function import Measure
from stoker.reasons import Outcome, Reason
from stoker_gateway.visit import Visit

log = structlog.get_logger(__name__)

_EVENTS = {
    Outcome.REFUSED: "request_refused",
    Outcome.EXPIRED: "request_expired",
    Outcome.FAILED: "request_failed",
    Outcome.UNKNOWN: "request_failed",
}


class Books:
    """See the module."""

    def __init__(
        self,
        metrics: MetricsSink,
        on_record: Callable[[RequestRecord], None],
        clock_us: Callable[[], int],
        live: Collection[Visit] = (),
    ) -> None:
        """`live` is what has not ended, at any time."""
        self._live = live
        self._metrics = metrics
        self._on_record = on_record
        self._clock_us = clock_us
        self._info = log.bind().info
        """Bound once: a lazy logger makes itself anew for each line."""

    def close(self, visit: Visit) -> None:
        """Called once for each request, when nothing more will happen to it."""
        total_us = self._clock_us() - visit.arrived_us
        outcome = visit.outcome
        assert outcome is not None
        state = visit.state
        on_time: bool | None = None
        if state is not None and visit.latency_us and visit.wakes:
            on_time = outcome is Outcome.SERVED and self._measured_us(visit, total_us) <= visit.latency_us
        self._count(visit, outcome, total_us, on_time)
        self._on_record(self._record(visit, outcome, total_us, on_time))
        if outcome is not Outcome.SERVED:
            self._log(_EVENTS[outcome], visit, total_us)
        elif visit.cold:
            self._log("request_cold", visit, total_us)
        elif on_time is False:
            self._log("request_late", visit, total_us)

    def under_way(self, request_id: str) -> RequestRecord | None:
        """The record so far of a request that has not ended; None: there is none of that id. Looks through all."""
        wanted = request_id.encode("latin-1", "replace")
        visit = next((visit for visit in self._live if visit.id == wanted), None)
        return None if visit is None else self._record(visit, None, self._clock_us() - visit.arrived_us, None)

    def _measured_us(self, visit: Visit, total_us: int) -> int:
        assert visit.state is not None
        if visit.state.function.spec.slo.measure is Measure.FIRST_BYTE and visit.first_byte_us is not None:
            return visit.first_byte_us
        return total_us

    def _count(self, visit: Visit, outcome: Outcome, total_us: int, on_time: bool | None) -> None:
        metrics = self._metrics
        state = visit.state
        reason = "" if visit.reason is None else visit.reason
        if state is None:
            # Not the path's words: labels that a stranger chooses are unbounded.
            metrics.inc(REQUESTS, "", "", "", outcome, reason)
            return
        labels = state.labels
        variant = "" if visit.variant_state is None else visit.variant_state.variant
        metrics.inc(REQUESTS, *labels, variant, outcome, reason)
        if visit.diverted and visit.dispatched and visit.device_reason is not None:
            metrics.inc(DIVERTED, *labels, visit.device_reason)
        metrics.observe(REQUEST_SECONDS, total_us / 1e6, *labels)
        # A client that left before the objective passed says nothing about it.
        gave_up = visit.reason is Reason.CLIENT_GONE and total_us <= visit.latency_us
        if on_time is not None and not gave_up:
            state.offered += 1
            state.on_time += int(on_time)
            state.diverted += int(visit.diverted and visit.dispatched)
            metrics.inc(OFFERED, *labels)
            # Also when it was none: a function that never was on time has 0, not nothing.
            metrics.inc(ON_TIME, *labels, amount=int(on_time))
        if on_time is False and outcome is Outcome.SERVED:
            metrics.inc(LATE, *labels, "true" if visit.cold else "false")
        if visit.cold:
            metrics.inc(COLD_REQUESTS, *labels)
            metrics.observe(HELD_SECONDS, visit.start_us / 1e6, *labels)
            if outcome is Outcome.SERVED and self._measured_us(visit, total_us) <= visit.objective_us:
                metrics.inc(COLD_ON_TIME, *labels)

    def _record(self, visit: Visit, outcome: Outcome | None, total_us: int, on_time: bool | None) -> RequestRecord:
        state = visit.state
        message = visit.inbound.message
        refusal = visit.refusal
        timeout_us = visit.timeout_at_us - visit.arrived_us if visit.timeout_at_us else 0
        record = RequestRecord(
            id=visit.id.decode(),
            function="" if state is None else state.key,
            arrived_at=_wall_clock(total_us),
            method=message.method,
            path=message.path[:2048],
            objective_us=visit.objective_us,
            latency_us=visit.latency_us,
            timeout_us=timeout_us,
            variant=None if visit.variant_state is None else visit.variant_state.variant,
            device="" if visit.device == b"none" else visit.device.decode("latin-1"),
            device_reason=visit.device_reason,
            ticket=visit.ticket_outcome,
            promise=visit.promise.decode("latin-1"),
            cold=visit.cold,
            diverted=visit.diverted,
            dispatched=visit.dispatched,
            outcome=outcome,
            reason=visit.reason,
            status=visit.status,
            detail=visit.detail,
            queue_us=visit.queue_us,
            start_us=visit.start_us if visit.cold else None,
            exec_us=visit.exec_us,
            cost_micro=visit.cost_micro,
            total_us=total_us,
            on_time=on_time,
        )
        if refusal is not None:
            finish_ms = refusal.predicted_finish_ms
            record.predicted_finish_us = None if finish_ms is None else finish_ms * 1000
            record.retry_after_ms = refusal.retry_after_ms
            record.ticket_window_ms = refusal.ticket_window_ms if refusal.ticket else None
            record.estimated = refusal.estimated
        if visit.steps is not None:
            record.steps = [Step(at_us, what) for at_us, what in visit.steps]
        return record

    def _log(self, event: str, visit: Visit, total_us: int) -> None:
        self._info(
            event,
            request_id=visit.id.decode(),
            function="" if visit.state is None else visit.state.key,
            outcome=visit.outcome or "",
            reason=visit.reason or "",
            status=visit.status,
            detail=visit.detail,
            cold=visit.cold,
            total_ms=total_us // 1000,
            held_ms=visit.start_us // 1000,
            device=visit.device.decode("latin-1"),
        )


def _wall_clock(before_us: int) -> str:
    """`before_us` ago as RFC 3339, for people."""
    seconds, micros = divmod(time.time_ns() // 1000 - before_us, 1_000_000)
    return f"{_second(seconds)}.{micros // 1000:03}Z"


_last_second: tuple[int, str] = (0, "")


def _second(seconds: int) -> str:
    global _last_second  # noqa: PLW0603  a cache of a pure function
    if _last_second[0] != seconds:
        _last_second = (seconds, datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
    return _last_second[1]
