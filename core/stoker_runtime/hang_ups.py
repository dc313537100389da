"""Has the other side of a connection hung up, though the event loop has not heard of it (yet)?

The loop hears nothing while reading is paused, and what happened in this very turn it tells later. The kernel knows.
"""

import asyncio
import select

# Without POLLRDHUP (only Linux has it) a half-closed connection is noticed when it is read from.
GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR
"""What poll() says of a connection whose peer will send nothing more."""


def descriptor(transport: asyncio.BaseTransport) -> int:
    """The file descriptor of its socket; -1 when it has none any more."""
    sock = transport.get_extra_info("socket")
    return -1 if sock is None else int(sock.fileno())


def hung_up(transport: asyncio.BaseTransport) -> bool:
    """Ask the kernel about one connection."""
    return _polled(transport, GONE)


def stirred(transport: asyncio.BaseTransport) -> bool:
    """The same for a connection on which nothing is expected: also True where bytes have come that nobody asked for."""
    return _polled(transport, GONE | select.POLLIN)


def _polled(transport: asyncio.BaseTransport, events: int) -> bool:
    number = descriptor(transport)
    if number < 0:
        return True
    poll = select.poll()
    poll.register(number, events)
    return bool(poll.poll(0))
