"""Where requests wait for a warm replica: bounded over all functions, left at once by whoever gives up.

A namespace holds as much as it leaves free, so none keeps the others out: half when it is alone, a third beside one
more that floods.

Level-triggered: every load frame releases what can go, so a replica that comes, goes and comes again between two
frames costs one more round at the agent and never strands a request.
"""

import asyncio
from collections.abc import Callable

from stoker.metrics import HELD, MetricsSink
from stoker.model.function import Variant
from stoker_gateway.config import GatewaySettings
from stoker_gateway.visit import FunctionState, VariantState, Visit


class HoldRoom:
    """See the module. `on_change` is called when somebody comes or goes (cheap, may be called often)."""

    def __init__(self, settings: GatewaySettings, metrics: MetricsSink, on_change: Callable[[], None]) -> None:
        self._settings = settings
        self._metrics = metrics
        self._on_change = on_change
        self._waiting: dict[VariantState, str] = {}
        self._count = 0
        self._bytes = 0
        self._of: dict[str, tuple[int, int]] = {}
        """Requests and bytes held for each namespace that has any."""

    def full(self, namespace: str, body_bytes: int) -> bool:
        """Whether one more request would exceed the gateway's own bounds, or what the namespace may have of them."""
        settings = self._settings
        free, free_bytes = settings.hold_requests - self._count, settings.hold_bytes - self._bytes
        if free < 1 or body_bytes > free_bytes:
            return True
        count, size = self._of.get(namespace, (0, 0))
        # Its first one is only bound by what is there.
        return count > 0 and (count >= free or size + body_bytes > free_bytes)

    async def wait(self, visit: Visit, state: FunctionState, variant: VariantState) -> bool:
        """Wait until released; False when the function was deleted. Cancelling gives the place back."""
        released: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        variant.held[visit] = released
        self._waiting[variant] = state.key
        self._add(state.function.namespace, 1, visit.body_bytes)
        self._changed(state)
        try:
            return await released
        finally:
            del variant.held[visit]
            if not variant.held:
                self._waiting.pop(variant, None)
            self._add(state.function.namespace, -1, -visit.body_bytes)
            self._changed(state)

    def release_warm(self, room: Callable[[str, Variant], int | None]) -> None:
        """Let go whose variant is warm: as many as there is room for, in the order in which they came; None: all."""
        for variant, key in tuple(self._waiting.items()):
            if variant.warm:
                release(variant, found=True, count=room(key, variant.variant))

    def _add(self, namespace: str, count: int, size: int) -> None:
        self._count += count
        self._bytes += size
        before = self._of.pop(namespace, (0, 0))
        if before[0] + count:
            self._of[namespace] = (before[0] + count, before[1] + size)

    def _changed(self, state: FunctionState) -> None:
        self._metrics.set(HELD, len(state.gpu.held) + len(state.cpu.held), *state.labels)
        self._on_change()


def release(variant: VariantState, *, found: bool, count: int | None = None) -> None:
    """Wake those that are held for a variant: `found` a replica, or the function is gone. At most `count` are then
    under way to an agent; None: all are.
    """
    for number, released in enumerate(variant.held.values()):
        if number == count:
            break
        if not released.done():
            released.set_result(found)
