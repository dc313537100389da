"""What a replica prints: a file of bounded size, and its last lines in memory. Standard library only (spawner).

A full disk loses output, never the replica.
"""

import contextlib
import os
from collections import deque
from io import FileIO
from pathlib import Path

MAX_BYTES = 10 * 2**20
TAIL_LINES = 20
LINE_CHARS = 500


class OutputLog:
    """Appends to `path`; at `max_bytes` the file becomes `path.1` (one old one is kept)."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._partial = b""
        self._file: FileIO | None = None
        self._size = 0
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()

    def _open(self) -> None:
        self._file = FileIO(self._path, "ab")
        self._size = os.fstat(self._file.fileno()).st_size

    def write(self, data: bytes) -> None:
        """Take a piece of output."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._lines.extend(_text(line) for line in lines[-TAIL_LINES:])
        # A program that never ends its line must not fill the memory.
        self._partial = self._partial[-8 * LINE_CHARS :]
        with contextlib.suppress(OSError):
            if self._size + len(data) > self._max_bytes:
                self._rotate()
            if self._file is not None:
                self._file.write(data)
                self._size += len(data)

    def _rotate(self) -> None:
        self.close()
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        self._open()

    def tail(self) -> list[str]:
        """The last lines, the oldest first, each cut to LINE_CHARS."""
        lines = [*self._lines, _text(self._partial)] if self._partial else list(self._lines)
        return lines[-TAIL_LINES:]

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def _text(line: bytes) -> str:
    return line[: 4 * LINE_CHARS].decode("utf-8", "replace").rstrip("\r")[:LINE_CHARS]
