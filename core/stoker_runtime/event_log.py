"""The file of an event log: lines are taken at once and written by a thread, and nobody ever waits for the disk.

Bounded on both sides: what waits to be written, and the files that are kept. When the disk cannot keep up, is full or
fails, the log says why and ends; the process goes on. It knows lines, not what stands in them.
"""

import os
import threading
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

MOST_WAITING = 32 * 2**20
"""Bytes that wait for the disk at most: some seconds of a machine that is busy throughout."""
_ROTATE = b""
"""In the place of a line: what comes behind it goes into a new file."""
_CLOSE_S = 2.0


class EventLogFile:
    """`path` is the newest file, `path`.1 the one before, and so on; `keep` of them in all are kept.

    A Sink of stoker.replay.journal. Made before the first line; close() after the last.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep: int,
        last_line: Callable[[str], bytes],
        most_waiting: int = MOST_WAITING,
    ) -> None:
        """An older log under that name is moved away as if it were full. `last_line` makes the line that says why the
        log ends. OSError where the file cannot be written.
        """
        self._path = path
        self._keep = keep
        self._last_line = last_line
        self._most_waiting = most_waiting
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._why: str | None = None
        """Why no line is taken any more; empty where it was closed in order."""
        self._awake = threading.Event()
        self._file = self._next()
        self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> bool:
        """Take a line; False: the log has ended."""
        with self._lock:
            if self._why is not None:
                return False
            self._waiting.append(line)
            self._waiting_bytes += len(line)
            full = self._waiting_bytes > self._most_waiting
        if full:
            self.stop(f"the disk is slower than the log: {self._most_waiting >> 20} MiB wait to be written")
        elif not self._awake.is_set():
            self._awake.set()
        return not full

    def next_file(self) -> bool:
        """What is written from now on goes into a new file; the oldest one is removed."""
        return self.write(_ROTATE)

    def stop(self, why: str) -> None:
        """Take nothing more, write what waits, and say in the log why it ends."""
        with self._lock:
            if self._why is not None:
                return
            self._why = why
        self._awake.set()
        log.warning("event_log_stopped", file=str(self._path), reason=why)

    def close(self, within_s: float = _CLOSE_S) -> None:
        """Write what waits, at most for so long, and take nothing more."""
        with self._lock:
            if self._why is None:
                self._why = ""
        self._awake.set()
        self._thread.join(within_s)
        if self._thread.is_alive():
            log.warning("event_log_incomplete", file=str(self._path), reason="the disk did not take its end in time")

    def _run(self) -> None:
        try:
            self._write_all()
        except OSError as error:
            self.stop(f"the file cannot be written: {(error.strerror or str(error)).lower()}")
        finally:
            with self._lock:
                self._waiting.clear()
            # What the disk refused once it may refuse again.
            try:
                self._file.close()
            except OSError:
                return

    def _write_all(self) -> None:
        while True:
            self._awake.wait()
            self._awake.clear()
            with self._lock:
                lines, self._waiting = self._waiting, []
                self._waiting_bytes = 0
                why = self._why
            begin = 0
            for at, line in enumerate(lines):
                if line is _ROTATE:
                    self._put(lines[begin:at])
                    begin = at + 1
                    self._file.close()
                    self._file = self._next()
            self._put(lines[begin:])
            if why is not None:
                if why:
                    self._put([self._last_line(why)])
                return

    def _put(self, lines: list[bytes]) -> None:
        data = memoryview(b"".join(lines))
        while data:
            data = data[self._file.write(data) :]

    def _next(self) -> FileIO:
        """Move the files that there are by one place, and open a new one. Only its owner reads it: it holds specs."""
        name = str(self._path)
        names = [self._path, *(Path(f"{name}.{number}") for number in range(1, self._keep))]
        if self._path.exists() and self._path.stat().st_size:
            for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
                if newer.exists():
                    newer.replace(older)
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        return FileIO(handle, "wb")
