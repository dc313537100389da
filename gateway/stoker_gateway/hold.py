"""Where requests wait for a warm replica: bounded over all functions, left at once by whoever gives up.

Level-triggered: every load frame releases what can go, so a replica that comes, goes and comes again between two
frames costs one more round at the agent and never strands a request.
"""

import asyncio
from collections.abc import Callable

from stoker.decider import Decider
from stoker.metrics import HELD, MetricsSink
from stoker.model.function import Variant
from stoker_gateway.config import GatewaySettings
from stoker_gateway.visit import FunctionState, VariantState, Visit


class HoldRoom:
    """See the module. `on_change` is called when somebody comes or goes (cheap, may be called often)."""

    def __init__(
        self, settings: GatewaySettings, metrics: MetricsSink, on_change: Callable[[], None], decider: Decider
    ) -> None:
        self._metrics = metrics
        self._on_change = on_change
        self._waiting: dict[VariantState, str] = {}
        self._shares = decider.make_shares(settings.hold_requests, settings.hold_bytes)

    def full(self, namespace: str, body_bytes: int) -> bool:
        """Whether one more request would exceed the gateway's own bounds, or what the namespace may have of them."""
        return self._shares.full(namespace, body_bytes)

    async def wait(self, visit: Visit, state: FunctionState, variant: VariantState) -> bool:
        """Wait until released; False when the function was deleted, or there is no point in waiting any more.
        Cancelling gives the place back.
        """
        released: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        variant.held[visit] = released
        self._waiting[variant] = state.key
        self._shares.add(state.function.namespace, 1, visit.body_bytes)
        self._changed(state)
        try:
            return await released
        finally:
            del variant.held[visit]
            if not variant.held:
                self._waiting.pop(variant, None)
            self._shares.add(state.function.namespace, -1, -visit.body_bytes)
            self._changed(state)

    def release_warm(
        self, room: Callable[[str, Variant], int | None], paid_us: Callable[[str, Variant], int | None]
    ) -> None:
        """Let go whose variant is warm: as many as there is room for, in the order in which they came; None: all. And
        those for whom none will be had in their time: `paid_us` is when one could be; None: nothing is in its way.
        """
        for variant, key in tuple(self._waiting.items()):
            if variant.warm:
                release(variant, found=True, count=room(key, variant.variant))
            elif (until_us := paid_us(key, variant.variant)) is not None:
                give_up(variant, until_us)

    def _changed(self, state: FunctionState) -> None:
        self._metrics.set(HELD, len(state.gpu.held) + len(state.cpu.held), *state.labels)
        self._on_change()


def give_up(variant: VariantState, until_us: int) -> None:
    """Wake those that wait for the variant in vain: whose timeout is before that."""
    for visit, released in variant.held.items():
        if not released.done() and visit.timeout_at_us < until_us:
            released.set_result(False)


def release(variant: VariantState, *, found: bool, count: int | None = None) -> None:
    """Wake those that are held for a variant: `found` a replica, or the function is gone. At most `count` are then
    under way to an agent; None: all are.
    """
    for number, released in enumerate(variant.held.values()):
        if number == count:
            break
        if not released.done():
            released.set_result(found)
