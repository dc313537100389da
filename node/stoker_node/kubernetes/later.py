"""Runs something once for many reasons: soon after the first of them, on the event loop."""

import asyncio
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class Later:
    """`ask()` as often as you like; `cancel()` in the end."""

    def __init__(self, run: Callable[[], None], *, after_s: float = 0.0) -> None:
        self._run = run
        self._after_s = after_s
        self._handle: asyncio.Handle | None = None
        self._closed = False

    def ask(self) -> None:
        if self._handle is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._handle = loop.call_later(self._after_s, self._go) if self._after_s else loop.call_soon(self._go)

    def cancel(self) -> None:
        self._closed = True
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _go(self) -> None:
        self._handle = None
        try:
            self._run()
        except Exception:
            # Who asked is elsewhere by now; the next time it is tried afresh.
            log.exception("later_failed", what=getattr(self._run, "__qualname__", repr(self._run)))
