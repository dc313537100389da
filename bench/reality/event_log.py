"""What a platform's event log says of requests and of replicas. Instants are microseconds of its monotonic clock."""

from collections.abc import Iterable

from msgspec import Struct

from stoker.control.planning import Start
from stoker.replay.lines import records_of
from stoker.replay.records import Arrived, Done, Planned, Popped, Started


class Request(Struct):
    """One request by its id; None where it did not get that far."""

    dispatched_us: int | None = None
    took_us: int | None = None
    """Of its slot."""


class Begun(Struct, frozen=True):
    """A replica that was started, and what it took to be found ready; None: it never was."""

    function: str
    replica: str
    at_us: int
    ready_us: int | None


class Logged(Struct):
    requests: dict[str, Request]
    starts: list[Begun]
    plans_us: list[int]


def read(lines: Iterable[bytes]) -> Logged:
    """Raises BadLog."""
    reader = _Reader()
    for _, record in records_of(lines):
        reader.take(record)
    return reader.close()


class _Reader:
    def __init__(self) -> None:
        self._found = Logged({}, [], [])
        self._pops = 0
        self._running: dict[int, Request | None] = {}
        self._begun: list[Begun] = []
        self._ready: list[tuple[str, int]] = []

    def take(self, record: object) -> None:
        found = self._found
        if isinstance(record, Arrived):
            found.requests[record.id] = Request()
        elif isinstance(record, Popped) and record.got is not None:
            self._pops += 1
            request = self._running[self._pops] = found.requests.get(record.got.partition("#")[0])
            if request is not None:
                request.dispatched_us = record.now_us
        elif isinstance(record, Done):
            request = self._running.pop(record.pop, None)
            if request is not None and record.actual_us > 0:
                request.took_us = record.actual_us
        elif isinstance(record, Planned):
            self._plan(record)
        elif isinstance(record, Started):
            self._ready.append((record.function, record.us))

    def close(self) -> Logged:
        # The log says of which function a replica became ready, not of which replica: the first one in time.
        waiting: dict[str, list[int]] = {}
        for function, took_us in self._ready:
            waiting.setdefault(function, []).append(took_us)
        for begun in self._begun:
            times = waiting.get(begun.function)
            ready_us = times.pop(0) if times else None
            self._found.starts.append(Begun(begun.function, begun.replica, begun.at_us, ready_us))
        return self._found

    def _plan(self, record: Planned) -> None:
        self._found.plans_us.append(record.now_us)
        for action in record.actions:
            if isinstance(action, Start):
                spec = action.spec
                self._begun.append(Begun(spec.function, spec.id, record.now_us, None))
