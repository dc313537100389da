"""The columns of all requests while they are simulated: what came, and what became of it.

Rows are appended to for closed-loop clients. Every request is answered exactly once; a second answer is a defect and
raises. Knows no policy and no device.
"""

from array import array
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stoker.reasons import Outcome, Reason
from stoker_sim.engine.residence_log import ResidenceLog
from stoker_sim.outcomes import OUTCOMES, REASONS, VARIANTS, Outcomes
from stoker_sim.workload import Workload

_CODE = {outcome: code for code, outcome in enumerate(OUTCOMES)}
_REASON = {reason: code for code, reason in enumerate(REASONS)}
_OPEN = 127
_SERVED = _CODE[Outcome.SERVED]
VARIANT_CODE = {variant: code for code, variant in enumerate(VARIANTS)}


def _copied(column: NDArray[np.generic], code: str) -> "array[int]":
    """A column as an array whose elements are Python integers: indexing numpy one by one is slow."""
    copied: array[int] = array(code)
    copied.frombytes(np.ascontiguousarray(column, dtype=np.dtype(code)).tobytes())
    return copied


def _filled(code: str, value: int, count: int) -> "array[int]":
    return array(code, (value,)) * count


class Book:
    """See the module. Columns may be written by whoever knows; `answer` alone ends a request."""

    __slots__ = (
        "answered",
        "arrival_us",
        "cold",
        "device",
        "dispatch_us",
        "exec_us",
        "finish_us",
        "function",
        "held_us",
        "occupied_us",
        "offered",
        "open",
        "outcome",
        "promised",
        "reason",
        "running",
        "slo_us",
        "start_us",
        "variant",
    )

    def __init__(self, workload: Workload) -> None:
        count = self.offered = self.open = len(workload)
        self.running = 0
        """Requests that hold a slot, answered ones among them."""
        self.answered: Callable[[int], None] | None = None
        """Called with the index of each request that was answered, its row being complete but for the reason."""
        self.arrival_us = _copied(workload.time_us, "q")
        self.function = _copied(workload.function, "i")
        self.exec_us = _copied(workload.exec_us, "q")
        self.slo_us = _copied(workload.objectives_us(), "q")
        self.dispatch_us = _filled("q", -1, count)
        self.finish_us = _filled("q", -1, count)
        self.start_us = _filled("q", 0, count)
        self.occupied_us = _filled("q", 0, count)
        self.held_us = _filled("q", 0, count)
        self.device = _filled("h", -1, count)
        self.variant = bytearray(count)
        self.outcome = bytearray((_OPEN,)) * count
        self.reason = _filled("b", -1, count)
        self.cold = bytearray(count)
        self.promised = bytearray(count)

    def __len__(self) -> int:
        return len(self.arrival_us)

    def add(self, time_us: int, function: int, exec_us: int, slo_us: int) -> int:
        """One more request; its index."""
        self.arrival_us.append(time_us)
        self.function.append(function)
        self.exec_us.append(exec_us)
        self.slo_us.append(slo_us)
        for column in (self.dispatch_us, self.finish_us, self.device, self.reason):
            column.append(-1)
        for column in (self.start_us, self.occupied_us, self.held_us):
            column.append(0)
        for flags in (self.variant, self.cold, self.promised):
            flags.append(0)
        self.outcome.append(_OPEN)
        self.open += 1
        return len(self.arrival_us) - 1

    def serve(self, index: int, now_us: int) -> None:
        """It got its answer from its function."""
        if self.outcome[index] != _OPEN:
            raise AssertionError(f"request {index} was answered twice")
        self.outcome[index] = _SERVED
        self.finish_us[index] = now_us
        self.open -= 1
        if self.answered is not None:
            self.answered(index)

    def end(self, index: int, outcome: Outcome, reason: Reason, now_us: int) -> None:
        """It got an answer of the platform's own."""
        self.reason[index] = _REASON[reason]
        self.serve(index, now_us)
        self.outcome[index] = _CODE[outcome]

    def is_open(self, index: int) -> bool:
        """Whether it has no answer yet."""
        return self.outcome[index] == _OPEN

    def close(self, functions: tuple[str, ...], devices: tuple[str, ...], log: ResidenceLog, end_us: int) -> Outcomes:
        """The result."""
        if self.open:
            raise AssertionError(f"{self.open} requests have no outcome")
        return Outcomes(
            functions=functions,
            devices=devices,
            end_us=end_us,
            function=np.frombuffer(self.function, np.int32),
            arrival_us=np.frombuffer(self.arrival_us, np.int64),
            exec_us=np.frombuffer(self.exec_us, np.int64),
            slo_us=np.frombuffer(self.slo_us, np.int64),
            dispatch_us=np.frombuffer(self.dispatch_us, np.int64),
            finish_us=np.frombuffer(self.finish_us, np.int64),
            start_us=np.frombuffer(self.start_us, np.int64),
            occupied_us=np.frombuffer(self.occupied_us, np.int64),
            held_us=np.frombuffer(self.held_us, np.int64),
            device=np.frombuffer(self.device, np.int16),
            variant=np.frombuffer(self.variant, np.int8),
            outcome=np.frombuffer(self.outcome, np.int8),
            reason=np.frombuffer(self.reason, np.int8),
            cold=np.frombuffer(self.cold, np.bool_),
            promised=np.frombuffer(self.promised, np.bool_),
            residence=log.close(end_us),
        )
