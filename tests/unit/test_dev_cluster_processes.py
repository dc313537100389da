"""Programs of a cluster are found again, and a pid that is someone else's by now is never touched."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from cluster.processes import Processes, Record, StartError, kill_marked, marked
from cluster.tethered import Tethered

pytestmark = pytest.mark.unit


def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within 5 s")


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_started_program_is_found_by_another_instance_and_stopped(tmp_path: Path) -> None:
    Processes(tmp_path).start("sleeper", ["sleep", "60"])
    later = Processes(tmp_path)
    pid = later.pid("sleeper")
    assert pid is not None
    assert running(pid)
    later.stop("sleeper")
    assert not later.alive("sleeper")
    assert not running(pid)


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    each = Processes(tmp_path)
    each.start("stubborn", ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
    eventually(lambda: "ready" in each.log("stubborn").read_text())
    each.stop("stubborn", grace_s=0.1)
    assert not each.alive("stubborn")
    kill_marked(tmp_path)


def test_restart_starts_the_same_command_under_another_pid(tmp_path: Path) -> None:
    each = Processes(tmp_path)
    each.start("sleeper", ["sleep", "60"])
    before = each.pid("sleeper")
    each.restart("sleeper")
    after = each.pid("sleeper")
    assert after is not None
    assert after != before
    # Empty for the moment between fork and exec.
    eventually(lambda: Path(f"/proc/{after}/cmdline").read_bytes() == b"sleep\00060\000")
    each.stop("sleeper")


@pytest.mark.parametrize("wrong", [{"began": 1}, {"boot": "another"}])
def test_a_pid_of_another_start_or_boot_is_left_alone(tmp_path: Path, wrong: dict[str, object]) -> None:
    each = Processes(tmp_path)
    each.start("sleeper", ["sleep", "60"])
    path = tmp_path / "processes" / "sleeper.json"
    honest = path.read_bytes()
    record = msgspec.structs.replace(msgspec.json.decode(honest, type=Record), **wrong)
    path.write_bytes(msgspec.json.encode(record))
    assert each.pid("sleeper") is None
    each.stop("sleeper")
    assert running(record.pid), "that pid is not ours as far as the record says"
    path.write_bytes(honest)
    each.stop("sleeper")


def test_a_half_written_record_means_that_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "processes").mkdir()
    (tmp_path / "processes" / "etcd.json").write_bytes(b'{"argv": [')
    assert Processes(tmp_path).pid("etcd") is None


def test_programs_whose_record_was_lost_are_found_by_their_mark(tmp_path: Path) -> None:
    each = Processes(tmp_path)
    each.start("outer", ["sh", "-c", "sleep 60 & sleep 60"])
    eventually(lambda: len(marked(tmp_path)) == 3)
    (tmp_path / "processes" / "outer.json").unlink()
    assert kill_marked(tmp_path) == []
    assert marked(tmp_path) == []


def test_clusters_do_not_find_each_others_programs(tmp_path: Path) -> None:
    Processes(tmp_path / "one").start("sleeper", ["sleep", "60"])
    assert marked(tmp_path / "two") == []
    assert marked(tmp_path) == []
    assert len(marked(tmp_path / "one")) == 1
    kill_marked(tmp_path / "one")


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="etcd does not start"):
        Processes(tmp_path).start("etcd", [tmp_path / "absent"])


def test_restarting_what_never_ran_names_what_there_is(tmp_path: Path) -> None:
    each = Processes(tmp_path)
    each.start("sleeper", ["sleep", "60"])
    with pytest.raises(StartError, match="there are sleeper"):
        each.restart("kubelet.node-c")
    each.stop("sleeper")


def test_a_tethered_program_is_gone_when_stop_returns_and_may_be_stopped_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = Tethered(["sh", "-c", "echo $$; exec sleep 60"], log)
    eventually(lambda: log.read_text().endswith("\n"))
    pid = int(log.read_text())
    assert program.alive()
    program.stop()
    program.stop()
    assert not program.alive()
    assert not running(pid)


def test_a_tethered_program_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    program = Tethered(["sh", "-c", "echo no >&2; exit 3"], tmp_path / "log")
    eventually(lambda: not program.alive())
    assert (tmp_path / "log").read_text() == "no\n"
    program.stop()


def test_a_tethered_program_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = (
        "import sys, time, pathlib; from cluster.tethered import Tethered;"
        f"kept = Tethered(['sh', '-c', 'echo $$; exec sleep 60'], pathlib.Path({str(log)!r})); time.sleep(60)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    eventually(lambda: log.exists() and log.read_text().endswith("\n"))
    pid = int(log.read_text())
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    eventually(lambda: not running(pid))
