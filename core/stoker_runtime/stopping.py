"""Ends the parts of a process, whatever one of them does meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)


async def stop_part(part: str, stop: Callable[[], Awaitable[None]], within_s: float) -> None:
    """Stop a part; one that hangs or breaks must not keep the others from stopping. Never raises."""
    try:
        async with asyncio.timeout(within_s):
            await stop()
    except TimeoutError:
        log.warning("stop_timed_out", part=part, within_s=within_s)
    except Exception:
        log.exception("stop_failed", part=part)
