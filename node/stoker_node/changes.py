"""Which flows changed, told to listeners at most ten times a second, or at once when a replica changed its state.

Thousands of requests a second change queues and slots; whoever listens (load stream, gauges, reconciler) wants the
latest state, not each step to it.
"""

import asyncio
from collections.abc import Callable

from stoker.wire.agent import LOAD_MIN_INTERVAL_S
from stoker_node.replica_table import FlowState

Listener = Callable[[dict[str, FlowState]], None]
"""Called with the flows that changed since the last call, by key."""


class Changes:
    """See the module. Without a running loop (before the agent starts) changes wait for the first one."""

    def __init__(self) -> None:
        self._changed: dict[str, FlowState] = {}
        self._listeners: list[Listener] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.Handle | None = None
        self._at_once = False
        self._next_s = 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        if self._changed:
            self._schedule(at_once=True)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop = None

    def listen(self, *listeners: Listener) -> None:
        self._listeners += listeners

    def touch(self, flow: FlowState) -> None:
        """Its queue or its slots changed."""
        self._changed[flow.key] = flow
        if self._handle is None:
            self._schedule(at_once=False)

    def state(self, flow: FlowState) -> None:
        """A replica of it changed its state: tell at the end of this turn of the loop."""
        self._changed[flow.key] = flow
        if not self._at_once:
            self._schedule(at_once=True)

    def _schedule(self, *, at_once: bool) -> None:
        if self._loop is None:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._at_once = at_once
        if at_once:
            self._handle = self._loop.call_soon(self._tell)
        else:
            self._handle = self._loop.call_later(max(0.0, self._next_s - self._loop.time()), self._tell)

    def _tell(self) -> None:
        assert self._loop is not None
        self._handle = None
        self._at_once = False
        self._next_s = self._loop.time() + LOAD_MIN_INTERVAL_S
        changed, self._changed = self._changed, {}
        for listener in self._listeners:
            listener(changed)
