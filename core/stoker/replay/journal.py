"""The writing side of an event log: numbers functions, makes lines, and begins a new file when one is large enough.

Whoever records joins as a part and writes down, at the begin of each file, what its later records build on. Lines go
to a sink that takes them without delay or refuses them for ever (stoker_runtime.event_log); from then on nothing is
recorded. It opens no file and reads no clock but the one that it is given.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from stoker.model.device import Device
from stoker.model.function import Function
from stoker.replay.lines import line_of
from stoker.replay.records import Closed, Header, Record, Seen

PART_BYTES = 64 * 2**20
"""A file is closed behind the record that makes it this large."""


class Sink(Protocol):
    """Where lines go."""

    def write(self, line: bytes) -> bool:
        """Take a line, at once; False: the log has ended, and no line is taken any more."""

    def next_file(self) -> bool:
        """What is written from now on belongs into a new file."""

    def stop(self, why: str) -> None:
        """The log ends here: nothing more can be written down."""


class Part(Protocol):
    """One kind of what is recorded."""

    def begin_file(self, journal: "Journal") -> None:
        """A new file begins: put() down what this part's next records build on, and forget what was there before."""


class Journal:
    """See the module. Used from one thread."""

    def __init__(
        self,
        sink: Sink,
        *,
        clock_us: Callable[[], int],
        wall_us: Callable[[], int],
        version: str,
        devices: Sequence[Device],
        part_bytes: int = PART_BYTES,
    ) -> None:
        self.open = True
        """Whether anything is written down any more. Whoever records asks first: a closed journal costs nothing."""
        self._sink = sink
        self._clock_us = clock_us
        self._wall_us = wall_us
        self._version = version
        self._devices = tuple(devices)
        self._part_bytes = part_bytes
        self._files = 0
        self._bytes = 0
        self._refs: dict[int, tuple[int, Function]] = {}
        """By id, which is the function's own while it is kept here."""
        self._parts: list[Part] = []
        self._put_header()

    def join(self, part: Part) -> None:
        """The part records from now on; it begins with begin_file()."""
        self._parts.append(part)
        self._begin(part)

    def ref(self, function: Function) -> int:
        """The number of a function, which is written down where it is new."""
        known = self._refs.get(id(function))
        if known is None:
            known = self._refs[id(function)] = (len(self._refs) + 1, function)
            self.put(Seen(*known))
        return known[0]

    def put(self, record: Record) -> None:
        """Write one of several records that belong into one file; write() comes last."""
        if not self.open:
            return
        try:
            line = line_of(record)
        except Exception as error:  # noqa: BLE001  a defect here must not become one of whoever is recorded
            self.give_up(f"a {type(record).__name__} cannot be written down ({error})")
            return
        self._bytes += len(line)
        self.open = self._sink.write(line)

    def write(self, record: Record) -> None:
        """Write a record, and begin a new file behind it where this one is full."""
        self.put(record)
        if self._bytes >= self._part_bytes and self.open:
            self._next_file()

    def close(self) -> None:
        """The process ends in order."""
        self.put(Closed())
        self.open = False

    def _next_file(self) -> None:
        self.open = self._sink.next_file()
        self._files += 1
        self._bytes = 0
        self._refs.clear()
        self._put_header()
        for part in self._parts:
            self._begin(part)

    def _begin(self, part: Part) -> None:
        try:
            part.begin_file(self)
        except Exception as error:  # noqa: BLE001  as above
            self.give_up(f"the state of {type(part).__name__} cannot be written down ({error})")

    def give_up(self, why: str) -> None:
        """Nothing more can be written down, and the log says why."""
        self._sink.stop(why)
        self.open = False

    def _put_header(self) -> None:
        self.put(
            Header(
                stoker=self._version,
                part=self._files,
                now_us=self._clock_us(),
                wall_us=self._wall_us(),
                devices=self._devices,
            )
        )
