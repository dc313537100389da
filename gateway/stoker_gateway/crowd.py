"""New requests at the door of a gateway: a few are looked at in each turn of the event loop, and while those wait too
long for that, new ones are refused unseen.

To refuse a request by its function, with a reason of its own, costs half a millisecond; a storm can bring more than a
core can refuse so. Then all would wait longer and longer, and what is admitted would be late before it is looked at. So
while the first in line has waited for PATIENCE_US nobody may join it; a burst that is worked off by then passes. The
others get a whole answer that was made beforehand, for the price of reading their heads:
503 HoldFull, with a Retry-After, no ticket, no record, and no regard for whose they are. They are counted together.
"""

from collections.abc import Awaitable, Callable

import msgspec

from stoker.metrics import SHED_UNSEEN, MetricsSink
from stoker.reasons import Outcome, Reason
from stoker.wire.agent import refuse
from stoker_gateway.inbound import CLOSE, KEEP, Inbound, Reply
from stoker_gateway.turnstile import Turnstile

PATIENCE_US = 20_000
"""Ours: what a refusal may take (DESIGN 11)."""
_RETRY_MS = range(1_000, 2_000, 50)
_DETAIL = "More new requests come to this gateway than it can look at."


def _answer(retry_ms: int, *, close: bool) -> bytes:
    refusal = refuse(Reason.HOLD_FULL, _DETAIL, "", retry_after_us=retry_ms * 1_000)
    body = msgspec.json.encode(refusal)
    return (
        b"HTTP/1.1 %d Service Unavailable\r\ncontent-type: application/problem+json\r\nstoker-outcome: %b\r\n"
        b"retry-after: %d\r\nstoker-retry-after-ms: %d\r\n%bcontent-length: %d\r\n\r\n%b"
        % (
            refusal.status,
            Outcome.REFUSED.value.encode(),
            -(-retry_ms // 1_000),
            retry_ms,
            b"connection: close\r\n" if close else b"",
            len(body),
            body,
        )
    )


_KEEP = tuple(_answer(retry_ms, close=False) for retry_ms in _RETRY_MS)
_CLOSE = tuple(_answer(retry_ms, close=True) for retry_ms in _RETRY_MS)
"""One after the other, so that they do not all come back at once."""


class Crowd:
    """Stands before `handle`, which is told when a request came, before it waited."""

    def __init__(
        self, handle: Callable[[Inbound, int], Awaitable[Reply]], metrics: MetricsSink, clock_us: Callable[[], int]
    ) -> None:
        self._handle = handle
        self._metrics = metrics
        self._clock_us = clock_us
        self._turnstile = Turnstile()
        self._shed = 0

    async def take(self, inbound: Inbound) -> Reply:
        """Answer a request."""
        now_us = self._clock_us()
        since_us = self._turnstile.since_us
        if since_us is not None and now_us - since_us > PATIENCE_US:
            return self._refuse(inbound)
        await self._turnstile.enter(now_us)
        return await self._handle(inbound, now_us)

    def _refuse(self, inbound: Inbound) -> Reply:
        self._shed += 1
        self._metrics.inc(SHED_UNSEEN)
        # Behind a body that came in parts nothing more is read from the connection, whatever it was.
        keep = inbound.may_be_followed and not inbound.message.chunked
        inbound.write((_KEEP if keep else _CLOSE)[self._shed % len(_KEEP)])
        return KEEP if keep else CLOSE
