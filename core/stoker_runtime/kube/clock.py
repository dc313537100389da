"""The clocks of what must hold across machines and suspends, and the API's form of a moment."""

import datetime as dt
import time


def monotonic_us() -> int:
    """Microseconds that never go back and go on while the machine is suspended: a leader that slept has lost."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return time.monotonic_ns() // 1000


def micro_time() -> str:
    """Now, as a MicroTime of the API. For people and records: nothing may be decided by another machine's clock."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
