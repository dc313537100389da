"""An event log as a workload sees it: who came when, what it took and where, what became of it, and how starts went.

Reads records and decides nothing. Times are microseconds from the begin of the file. Paths that wake nothing (health)
are no requests here. What a request took is the time of its slot, from its dispatch to its true end.
"""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from stoker.control.planning import PlanParams
from stoker.errors import StokerError
from stoker.model.device import Device
from stoker.model.function import Function, Variant
from stoker.model.request import QueuedRequest
from stoker.reasons import Outcome, Reason
from stoker.replay.lines import records_of
from stoker.replay.records import (
    Arrived,
    Done,
    Ended,
    Exchanged,
    Header,
    Planned,
    Popped,
    Queueing,
    Ran,
    Seen,
    Started,
    Weighted,
)


class EmptyLog(StokerError):  # noqa: N818  the name states the fact
    """The log has no request that anything could be learnt from."""


class LoggedRequest(Struct, kw_only=True, eq=False):
    """One request; None where it did not get that far, or the log does not say."""

    arrival_us: int
    function: str
    latency_us: int
    tightened: bool
    """Its client asked for a shorter timeout than the function's."""
    dispatch_us: int | None = None
    device: str = ""
    took_us: int | None = None
    outcome: Outcome | None = None
    on_time: bool | None = None
    gave_up: bool = False
    """Its client left before the objective had passed."""
    cold: bool = False


class Logged(Struct, kw_only=True):
    """See the module."""

    devices: tuple[Device, ...]
    """As at the begin."""
    wall_us: int
    """Microseconds since the epoch at the begin."""
    horizon_us: int = 1
    """Just behind the last record."""
    functions: dict[str, Function] = {}
    """By key, each as it was at the end."""
    changed: set[str] = set()
    """Those of them that were applied anew meanwhile."""
    requests: list[LoggedRequest] = []
    """In the order of their arrival."""
    starts_us: dict[tuple[str, Variant], list[int]] = {}
    execs_us: dict[tuple[str, Variant, str], list[int]] = {}
    """Of runs that tell of later ones, by function, variant and product."""
    pops: dict[str, int] = {}
    """Requests that each queueing policy dispatched, in the order in which they were in force."""
    namespace_weights: dict[str, int] = {}
    plan: PlanParams = PlanParams()
    strangers: int = 0
    """Runs of requests that had come before the file began."""
    cut: bool = False
    """The last line was not written whole."""

    @property
    def policy(self) -> str:
        """The queueing policy that dispatched most."""
        return max(self.pops, key=lambda name: self.pops[name])


def logged(lines: Iterable[bytes]) -> Logged:
    """What one file tells. Raises BadLog and EmptyLog."""
    cuts: list[int] = []
    records = records_of(lines, cuts.append)
    _, header = next(records)
    assert isinstance(header, Header), "the reader gives it first"
    reader = _Reader(header)
    for _, record in records:
        reader.take(record)
    found = reader.found
    found.cut = bool(cuts)
    if not any(request.took_us for request in found.requests):
        raise EmptyLog("the log has no request that was run to its end, so nothing can be simulated from it")
    return found


class _Reader:
    def __init__(self, header: Header) -> None:
        self.found = Logged(devices=header.devices, wall_us=header.wall_us)
        self._begin_us = header.now_us
        self._keys: dict[int, str] = {}
        self._by_id: dict[str, LoggedRequest] = {}
        self._running: dict[int, LoggedRequest | None] = {}
        self._pops = 0
        self._policy = ""
        self._takes: dict[type, Callable[[Any], None]] = {
            Seen: self._see,
            Queueing: self._queue,
            Exchanged: lambda record: self._serve_by(record.name),
            Weighted: self._weigh,
            Arrived: self._arrive,
            Popped: self._pop,
            Done: self._done,
            Ended: self._end,
            Ran: self._ran,
            Started: self._started,
            Planned: self._plan,
        }

    def take(self, record: Any) -> None:
        now_us = getattr(record, "now_us", self._begin_us)
        self.found.horizon_us = max(self.found.horizon_us, now_us - self._begin_us + 1)
        take = self._takes.get(type(record))
        if take is not None:
            take(record)

    def _see(self, record: Seen) -> None:
        function = record.function
        before = self.found.functions.get(function.key)
        if before is not None and before.spec != function.spec:
            self.found.changed.add(function.key)
        self.found.functions[function.key] = function
        self._keys[record.ref] = function.key

    def _queue(self, record: Queueing) -> None:
        running: list[tuple[int, QueuedRequest]] = record.running
        self._running = dict.fromkeys((number for number, _ in running), None)
        self._pops = max(self._running, default=0)
        self.found.strangers += len(running)
        self._serve_by(record.name)

    def _serve_by(self, name: str) -> None:
        self._policy = name
        self.found.pops.setdefault(name, 0)

    def _weigh(self, record: Weighted) -> None:
        self.found.namespace_weights = record.namespaces

    def _arrive(self, record: Arrived) -> None:
        if not record.wakes:
            return
        key = self._keys[record.function]
        request = LoggedRequest(
            arrival_us=record.now_us - self._begin_us,
            function=key,
            latency_us=record.latency_us,
            tightened=record.timeout_us < self.found.functions[key].spec.timeout_us,
        )
        self._by_id[record.id] = request
        self.found.requests.append(request)

    def _pop(self, record: Popped) -> None:
        if record.got is None:
            return
        self._pops += 1
        self.found.pops[self._policy] += 1
        # An agent that gets a request twice gives the second one a suffix.
        request = self._by_id.get(record.got) or self._by_id.get(record.got.rpartition("#")[0])
        self._running[self._pops] = request
        if request is None:
            self.found.strangers += 1
        else:
            request.dispatch_us, request.device = record.now_us - self._begin_us, record.device

    def _done(self, record: Done) -> None:
        request = self._running.pop(record.pop, None)
        # What took no time was not run: it comes again, or had expired.
        if request is not None and record.actual_us > 0:
            request.took_us = record.actual_us

    def _end(self, record: Ended) -> None:
        request = self._by_id.get(record.id)
        if request is not None:
            request.outcome, request.on_time, request.cold = record.outcome, record.on_time, record.cold
            request.gave_up = record.reason is Reason.CLIENT_GONE and record.total_us <= request.latency_us

    def _ran(self, record: Ran) -> None:
        self.found.execs_us.setdefault((record.function, record.variant, record.product), []).append(record.us)

    def _started(self, record: Started) -> None:
        self.found.starts_us.setdefault((record.function, record.variant), []).append(record.us)

    def _plan(self, record: Planned) -> None:
        if record.params is not None:
            self.found.plan = record.params
