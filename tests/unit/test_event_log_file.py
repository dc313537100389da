"""The file of an event log: order, bounds, and ends that nobody waits for."""

import errno
import threading
from pathlib import Path
from typing import Any

import pytest
import structlog

from stoker_runtime.event_log import EventLogFile

pytestmark = pytest.mark.unit


def closing(why: str) -> bytes:
    return f"end: {why}\n".encode()


def opened(path: Path, **bounds: Any) -> EventLogFile:
    return EventLogFile(path, **{"keep": 3, "last_line": closing, **bounds})


def test_lines_are_there_in_order_once_it_is_closed(tmp_path: Path) -> None:
    log = opened(tmp_path / "log")
    lines = [b"%d\n" % number for number in range(500)]
    assert all(log.write(line) for line in lines)
    log.close()
    assert (tmp_path / "log").read_bytes() == b"".join(lines)
    assert not log.write(b"late\n")


def test_a_new_file_moves_the_others_on_and_the_oldest_goes(tmp_path: Path) -> None:
    log = opened(tmp_path / "log")
    for part in (b"0\n", b"1\n", b"2\n", b"3\n"):
        log.write(part)
        if part != b"3\n":
            assert log.next_file()
    log.close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "log": b"3\n",
        "log.1": b"2\n",
        "log.2": b"1\n",
    }


def test_an_older_log_is_moved_away(tmp_path: Path) -> None:
    for run in (b"first\n", b"second\n"):
        log = opened(tmp_path / "log")
        log.write(run)
        log.close()
    assert (tmp_path / "log.1").read_bytes() == b"first\n"
    assert (tmp_path / "log").read_bytes() == b"second\n"


def test_one_file_may_be_all_that_is_kept(tmp_path: Path) -> None:
    log = opened(tmp_path / "log", keep=1)
    log.write(b"0\n")
    log.next_file()
    log.write(b"1\n")
    log.close()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("log", b"1\n")]


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    opened(tmp_path / "log").close()
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0


def test_a_file_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "nowhere" / "log")


class Stalled:
    """A disk that takes nothing until it is told to."""

    def __init__(self, log: EventLogFile, monkeypatch: pytest.MonkeyPatch) -> None:
        self.goes_on = threading.Event()
        put = log._put

        def wait_and_put(lines: list[bytes]) -> None:
            self.goes_on.wait(5)
            put(lines)

        monkeypatch.setattr(log, "_put", wait_and_put)


def test_a_disk_that_is_too_slow_ends_the_log_which_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = opened(tmp_path / "log", most_waiting=100)
    disk = Stalled(log, monkeypatch)
    with structlog.testing.capture_logs() as said:
        taken = [log.write(b"x" * 29 + b"\n") for _ in range(20)]
    assert taken.count(False) > 10
    assert taken == sorted(taken, reverse=True)
    disk.goes_on.set()
    log.close()
    *lines, last = (tmp_path / "log").read_bytes().splitlines()
    assert last == b"end: the disk is slower than the log: 0 MiB wait to be written"
    assert len(lines) >= taken.count(True)
    assert [entry["event"] for entry in said] == ["event_log_stopped"]


def test_a_disk_that_fails_ends_the_log_and_whoever_writes_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path / "log")

    def full(_: list[bytes]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(log, "_put", full)
    with structlog.testing.capture_logs() as said:
        log.write(b"0\n")
        log._thread.join(5)
    assert not log.write(b"1\n")
    assert [entry["reason"] for entry in said] == ["the file cannot be written: no space left on device"]
    log.close()


def test_an_end_that_the_disk_does_not_take_in_time_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path / "log")
    disk = Stalled(log, monkeypatch)
    log.write(b"0\n")
    with structlog.testing.capture_logs() as said:
        log.close(0.01)
    assert [entry["event"] for entry in said] == ["event_log_incomplete"]
    disk.goes_on.set()
    log.close()
    assert (tmp_path / "log").read_bytes() == b"0\n"


def test_what_was_given_up_says_why_in_the_log(tmp_path: Path) -> None:
    log = opened(tmp_path / "log")
    log.write(b"0\n")
    log.stop("a defect")
    log.stop("another")
    log.close()
    assert (tmp_path / "log").read_bytes() == b"0\nend: a defect\n"
