"""Does the program in a container listen on its port? Told from its network namespace in /proc.

A published port is no answer: docker's proxy, and that of rootless podman, accept connections from the moment that
the container runs, and close them while nobody listens inside. A TCP probe would call such a replica ready.
"""

import asyncio
from enum import StrEnum
from pathlib import Path

HOLD_S = 0.2
"""A proxy that finds nobody inside closes within a few milliseconds."""
_LISTEN = "0A"
_LOOPBACKS = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")


class Listening(StrEnum):
    YES = "yes"
    NO = "no"
    LOOPBACK_ONLY = "loopback only"
    """It listens where nothing from outside the container reaches it."""
    UNKNOWN = "unknown"


def listening(pid: int, port: int, proc: Path = Path("/proc")) -> Listening:
    """Whether anything in the network namespace of the process listens on the TCP port."""
    found = Listening.UNKNOWN
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / str(pid) / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except (OSError, ValueError):
            continue  # not our machine, not our process any more, or a kernel without IPv6
        if found is Listening.UNKNOWN:
            found = Listening.NO
        for line in lines:
            fields = line.split()
            address, _, number = fields[1].partition(":")
            if fields[3] == _LISTEN and int(number, 16) == port:
                if address not in _LOOPBACKS:
                    return Listening.YES
                found = Listening.LOOPBACK_ONLY
    return found


async def holds(port: int) -> bool:
    """Whether a connection to 127.0.0.1:port stays open for a moment, where /proc cannot be asked."""
    try:
        async with asyncio.timeout(HOLD_S * 5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return False
    try:
        async with asyncio.timeout(HOLD_S):
            return bool(await reader.read(1))
    except TimeoutError:
        return True
    except OSError:
        return False
    finally:
        writer.transport.abort()
