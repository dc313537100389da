"""How much of what was written to a socket its peer has not acknowledged yet.

The kernel takes megabytes for a peer that reads nothing, and says that there is room again only when a third of its
buffer is empty: so from what it takes nobody knows how fast a slow peer reads. This is known exactly.
"""

import fcntl
import struct
import termios
from asyncio import BaseTransport

from stoker_runtime.hang_ups import descriptor

_INT = struct.Struct("i")


def unacknowledged_bytes(transport: BaseTransport) -> int:
    """Bytes in the send queue of the kernel (Linux, SIOCOUTQ, tcp(7)); 0 where that cannot be said."""
    number = descriptor(transport)
    if number < 0:
        return 0
    try:
        answer = fcntl.ioctl(number, termios.TIOCOUTQ, b"\0" * _INT.size)
    except OSError:
        return 0
    found: int = _INT.unpack(answer)[0]
    return max(0, found)
