"""Who is the agent of the node: a file lock on the host, so that of two pods during an upgrade one acts at a time.

The kernel gives the lock back when its holder ends, however it ends. Knows nothing of what the holder does.
"""

import asyncio
import fcntl
import os
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

FILE = "agent.lock"
_RETRY_S = 0.1


class NodeLock:
    """Acquired once, released once."""

    def __init__(self, folder: Path, holder: str) -> None:
        """`holder` is written into the file, for whoever looks there."""
        self._path = folder / FILE
        self._holder = holder
        self._file: int | None = None
        self.waits = False
        """Another agent still has the lock."""

    async def acquire(self) -> bool:
        """Wait for the lock, however long its holder takes to finish. Whether there was an agent before on this host.

        OSError when the folder cannot be written.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            while not _locked(file):
                if not self.waits:
                    log.info(
                        "node_lock_waits",
                        path=str(self._path),
                        holder=os.pread(file, 256, 0).decode("utf-8", "replace"),
                    )
                self.waits = True
                await asyncio.sleep(_RETRY_S)
            self.waits = False
            before = os.fstat(file).st_size > 0
            os.ftruncate(file, 0)
            os.pwrite(file, self._holder.encode(), 0)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return before

    def release(self) -> None:
        """The next agent may act. Twice is fine."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
