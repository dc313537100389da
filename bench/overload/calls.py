"""What a load generator is told to send, and what it saw: the two files between it and whoever started it.

Times are microseconds from the begin of the run, on CLOCK_MONOTONIC. No file, no socket, no clock here.
"""

from msgspec import Struct

OK = 200
LOST, GAVE_UP, OPEN = 0, -1, -2
"""In place of a status: the connection was lost; the client left; nothing had come when the run was over."""


class Stream(Struct, frozen=True, kw_only=True):
    """How requests of one kind are sent."""

    target: str
    """`?units=` and the work are put behind it."""
    retries: int = 0
    """Attempts after the first, each at once when the one before was refused, lost or given up."""
    patience_us: int | None = None
    """After so long the client closes its connection and has failed; None: it waits for ever."""
    honours: bool = False
    """It comes again when it was told to (Stoker-Retry-After-Ms), not at once."""
    tickets: bool = False
    """It brings the ticket that it was given (Stoker-Ticket)."""


class Plan(Struct, frozen=True, kw_only=True):
    """Calls in the order of time: columns."""

    port: int
    streams: tuple[Stream, ...]
    at_us: list[int]
    stream: list[int]
    units: list[float]
    core: int | None = None
    """The generator stays on this one."""
    linger_us: int = 15_000_000
    """How long answers are waited for after the last call."""


class Attempt(Struct, frozen=True, array_like=True):
    """One request on the wire."""

    call: int
    """Index into the plan."""
    number: int
    """0: the first of its call."""
    due_us: int
    sent_us: int
    ended_us: int
    """The last byte of the answer; where there is none, when that was known."""
    status: int
    reason: str = ""
    """Of the platform's refusal."""
    queue_us: int = 0
    exec_us: int = 0
    """Server-Timing."""
    device: str = ""
    retry_after_us: int | None = None
    ticket: bool = False
    """It was sent with a ticket."""
    offered: bool = False
    """Its answer brought a ticket."""


class Seen(Struct, frozen=True):
    """Attempts in the order in which they ended."""

    begin_us: int
    """On CLOCK_MONOTONIC."""
    attempts: list[Attempt]
    connections: int
    """Opened in all."""
