"""The event log of `stoker serve --event-log FILE`: file, journal and recorder put together, and closed in order."""

from collections.abc import Callable, Sequence
from pathlib import Path

from stoker.model.device import Device
from stoker.replay.journal import Journal
from stoker.replay.lines import line_of
from stoker.replay.recorder import Recorder
from stoker.replay.records import FORMAT, Closed
from stoker_cli.console import CommandFailed
from stoker_runtime.event_log import EventLogFile
from stoker_runtime.process import wall_us

_LOOKED_AT = 256
"""Bytes of an older file in which a header says what it is."""


class EventLog:
    """`recorder` is what gateway, agent and reconciler ask."""

    def __init__(self, path: Path, *, file_mib: int, files: int, clock_us: Callable[[], int], version: str) -> None:
        """CommandFailed where the file cannot be written, or is something else than a log."""
        self._path = path
        try:
            _refuse_other(path)
            self._file = EventLogFile(path, keep=files, last_line=lambda why: line_of(Closed(why)))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise CommandFailed(f"The event log {path} cannot be written: {why}.") from error
        self._file_bytes = file_mib * 2**20
        self._clock_us = clock_us
        self._version = version
        self._recorder: Recorder | None = None

    def recorder(self, devices: Sequence[Device]) -> Recorder:
        """Begin the log of a platform with these devices."""
        journal = Journal(
            self._file,
            clock_us=self._clock_us,
            wall_us=wall_us,
            version=self._version,
            devices=devices,
            part_bytes=self._file_bytes,
        )
        self._recorder = Recorder(journal, self._clock_us)
        return self._recorder

    def close(self) -> None:
        """Nothing is decided any more."""
        if self._recorder is not None:
            self._recorder.close()
        self._file.close()


def _refuse_other(path: Path) -> None:
    """A mistyped name must not move somebody's file away."""
    if path.is_dir():
        raise CommandFailed(f"The event log {path} is a folder; name a file.")
    if path.exists() and path.stat().st_size:
        with path.open("rb") as older:
            if FORMAT.encode() not in older.read(_LOOKED_AT):
                raise CommandFailed(f"The file {path} exists and is no event log; name another file.")
