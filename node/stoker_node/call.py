"""One request at the agent, from its head to the end of its work: the state that connection, queue and hop share.

Times are microseconds on the agent's clock. A call outlives its connection: once dispatched it holds its slot until
the replica has really ended, whether or not somebody still wants the answer.
"""

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

from stoker.model.function import Function
from stoker.model.request import QueuedRequest
from stoker.reasons import Reason
from stoker.slots.arrangement import Expectation
from stoker.wire.agent import DISPATCH_BYTES
from stoker_runtime.http_client import HttpConnection

if TYPE_CHECKING:
    from stoker_node.data_server import DataConnection
    from stoker_node.replica_table import FlowState, Replica

_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))


class Phase(Enum):
    """Where a call stands. Each call moves forward only, but a failed connect moves it from RUNNING to QUEUED once."""

    RECEIVING = 1
    """Admitted; too little of its body is here."""
    QUEUED = 2
    RUNNING = 3
    ENDED = 4


class Call:
    """See the module."""

    __slots__ = (
        "acknowledged",
        "body",
        "body_buffered",
        "body_complete",
        "body_received",
        "body_sent",
        "chunked",
        "connection",
        "content_length",
        "dispatched_us",
        "estimated",
        "expectation",
        "expected_us",
        "failure",
        "flow",
        "function",
        "head",
        "head_sent",
        "hop",
        "in_flight",
        "phase",
        "profiled",
        "promised",
        "replica",
        "request",
        "requeues",
        "task",
        "timed_out",
        "timer",
        "waiter",
    )

    def __init__(
        self,
        connection: "DataConnection",
        function: Function,
        flow: "FlowState",
        request: QueuedRequest,
        head: bytes,
        *,
        profiled: bool,
        estimated: bool,
        chunked: bool,
        content_length: int | None,
    ) -> None:
        self.connection: DataConnection | None = connection
        """Where the answer goes; None once nobody waits for it."""
        self.function = function
        self.flow = flow
        self.request = request
        self.head = head
        """Request line and headers for the replica, each line ended, without framing and the empty line."""
        self.profiled = profiled
        self.estimated = estimated
        """What was promised of it rests on an estimate of its wait: no schedule guards it."""
        self.chunked = chunked
        self.content_length = content_length
        self.phase = Phase.RECEIVING
        self.body: list[bytes] = []
        self.body_buffered = 0
        self.body_received = 0
        self.body_complete = False
        self.body_sent = False
        """The replica has been sent the whole body: its connection may be used again."""
        self.waiter: asyncio.Future[None] | None = None
        self.replica: Replica | None = None
        self.hop: HttpConnection | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.dispatched_us = 0
        self.in_flight = 1
        """Executions on its device at its dispatch, its own included."""
        self.expectation: Expectation | None = None
        """What it found when it was queued; None: it did not have to wait, or nothing is known."""
        self.expected_us: int | None = None
        """Predicted time from then, or from its dispatch, to its end, given what ran before it; None: not known."""
        self.acknowledged = False
        """102 was written: from here on the work may have been done."""
        self.head_sent = False
        self.timed_out = False
        self.requeues = 0
        """How often its replica accepted no connection."""
        self.promised = False
        """Its predicted work is counted in its flow's `promised_us`."""
        self.failure: tuple[Reason, str] | None = None
        """Why this side closed the connection to the replica, and what to answer for it."""

    @property
    def eligible(self) -> bool:
        """Whether enough of the body is here to give the call a slot."""
        return self.body_complete or self.body_received >= DISPATCH_BYTES

    @property
    def repeatable(self) -> bool:
        """Whether the replica may get it a second time: its method is idempotent (RFC 9110), or somebody said so."""
        if self.function.spec.idempotent or self.head.split(b" ", 1)[0] in _IDEMPOTENT:
            return True
        return b"\r\nidempotency-key:" in self.head.lower()

    def add_body(self, chunk: bytes) -> None:
        self.body.append(chunk)
        self.body_buffered += len(chunk)
        self.body_received += len(chunk)
        self._wake()

    def end_body(self) -> None:
        self.body_complete = True
        self._wake()

    def take_body(self) -> bytes:
        """What is buffered of the body; the connection may read on."""
        taken = self.body[0] if len(self.body) == 1 else b"".join(self.body)
        self.body.clear()
        self.body_buffered = 0
        if self.connection is not None:
            self.connection.body_taken()
        return taken

    async def more_body(self, timeout_s: float) -> bool:
        """Wait for body bytes or the body's end; False when none came in time."""
        if self.body or self.body_complete:
            return True
        self.waiter = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait((self.waiter,), timeout=timeout_s)
        finally:
            self.waiter = None
        return bool(self.body) or self.body_complete

    def close_hop(self, reason: Reason, detail: str) -> None:
        """End the work at the replica from this side. `reason` is answered if somebody still waits."""
        if self.failure is None:
            self.failure = (reason, detail)
        if self.hop is not None:
            self.hop.close()

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
