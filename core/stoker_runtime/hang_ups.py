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
    number = descriptor(transport)
    return number < 0 or bool(_poll_of(number, GONE).poll(0))


class IdleWatch:
    """The same for a connection that is asked again and again, while nothing is expected on it. Not to be asked once
    the connection is closing: its descriptor may be another one's then.
    """

    __slots__ = ("_poll",)

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        number = descriptor(transport)
        self._poll = None if number < 0 else _poll_of(number, GONE | select.POLLIN)

    def stirred(self) -> bool:
        """Whether the other side has hung up, or bytes have come that nobody asked for."""
        return self._poll is None or bool(self._poll.poll(0))


def _poll_of(number: int, events: int) -> select.poll:
    poll = select.poll()
    poll.register(number, events)
    return poll
