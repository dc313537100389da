"""Drops the series of deleted functions once their last replica and request are gone: labels must not pile up.

Knows no gateway and no agent: what is still alive is asked for.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

import structlog

from stoker_runtime.background import Background

log = structlog.get_logger(__name__)

SWEEP_S = 5.0
"""How often what is left of deleted functions is looked for."""


class Forgetful(Protocol):
    """The part of a metrics sink that is used here."""

    def forget_function(self, namespace: str, function: str) -> None: ...


class Sweep:
    """`start()`, `functions_are(...)` with every change, `await stop()`."""

    def __init__(self, sink: Forgetful, alive: Callable[[], Collection[str]]) -> None:
        """`alive` tells the keys of functions that have a replica or a request."""
        self._sink = sink
        self._alive = alive
        self._known: frozenset[str] = frozenset()
        self._deleted: set[str] = set()
        self._task = Background("sweep")

    def functions_are(self, keys: Collection[str]) -> None:
        """The functions that exist now."""
        now = frozenset(keys)
        self._deleted = (self._deleted | self._known) - now
        self._known = now

    def start(self) -> None:
        self._task.start(self._run)

    async def stop(self) -> None:
        await self._task.stop()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                self._sweep()
            except Exception:
                # A mistake of ours must not end the sweeping.
                log.exception("sweep_failed")

    def _sweep(self) -> None:
        alive = self._alive()
        for key in sorted(self._deleted.difference(alive)):
            namespace, _, name = key.partition("/")
            self._sink.forget_function(namespace, name)
        self._deleted.intersection_update(alive)
