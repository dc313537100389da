"""Memory and output of replicas: /proc as text, cgroups as files, logs that rotate."""

from pathlib import Path

import pytest

from stoker_cli.processes.output_log import LINE_CHARS, OutputLog
from stoker_cli.processes.process_memory import PAGE_BYTES, Cgroups, ProcessTable, is_over, pss_bytes, rss_bytes

pytestmark = pytest.mark.unit


def add(
    proc: Path, pid: int, parent: int, session: int, *, environ: bytes = b"", state: str = "S", mib: int = 0
) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    tail = " ".join(["0"] * 15)
    (folder / "stat").write_text(f"{pid} (od) d)) {state} {parent} 1 {session} {tail} 77{pid} 0")
    (folder / "environ").write_bytes(environ)
    (folder / "statm").write_text(f"999 {mib * 2**20 // PAGE_BYTES} 1 1 0 1 0")


def test_processes_are_found_by_descent_session_and_marks(tmp_path: Path) -> None:
    add(tmp_path, 10, 1, 10)
    add(tmp_path, 11, 10, 11, environ=b"A=1\0STOKER_REPLICA=x\0PORT=5\0")
    add(tmp_path, 12, 11, 11)
    add(tmp_path, 13, 12, 13, environ=b"STOKER_REPLICA=x\0PORT=55\0")
    add(tmp_path, 14, 12, 14, state="Z")
    (tmp_path / "meminfo").write_text("")
    table = ProcessTable(tmp_path)
    assert table.descendants([10]) == {11, 12, 13}
    assert table.session[12] == 11
    assert table.started[11] == 7711
    assert table.marked(table.all(), frozenset({b"STOKER_REPLICA=x", b"PORT=5"})) == {11}
    assert table.marked([999], frozenset()) == set()
    assert ProcessTable(tmp_path / "nowhere").all() == set()


def test_shared_pages_are_divided_before_a_limit_is_called_exceeded(tmp_path: Path) -> None:
    for pid in (1, 2):
        add(tmp_path, pid, 0, pid, mib=60)
    assert rss_bytes([1, 2, 3], tmp_path) == 120 * 2**20
    assert is_over({1, 2}, 100, tmp_path)
    for pid in (1, 2):
        (tmp_path / str(pid) / "smaps_rollup").write_text(f"header\nRss: 61440 kB\nPss: {35 * 1024} kB\n")
    assert pss_bytes([1, 2], tmp_path) == 70 * 2**20
    assert not is_over({1, 2}, 100, tmp_path)


@pytest.fixture
def delegated(tmp_path: Path) -> Path:
    """A cgroup tree of which `unit` is ours."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text("1:memory:/other\n0::/unit\n")
    root = tmp_path / "cgroup" / "unit"
    root.mkdir(parents=True)
    (root / "cgroup.controllers").write_text("cpu memory pids")
    (root / "cgroup.procs").write_text("7\n8\n")
    (root / "cgroup.subtree_control").write_text("")
    return tmp_path


def find(root: Path, *own: int) -> Cgroups | None:
    return Cgroups.find(frozenset(own), root / "proc", root / "cgroup")


def test_a_delegated_cgroup_bounds_a_replica(delegated: Path) -> None:
    cgroups = find(delegated, 7, 8)
    assert cgroups is not None
    root = delegated / "cgroup" / "unit"
    assert (root / "stoker" / "cgroup.procs").read_text() == "8"
    assert (root / "cgroup.subtree_control").read_text() == "+memory"
    made = cgroups.make("default.f-0", 64)
    assert made == root / "replica-default.f-0"
    assert (made / "memory.max").read_text() == str(64 * 2**20)
    assert (made / "memory.oom.group").read_text() == "1"
    assert not cgroups.was_exceeded("default.f-0")
    (made / "memory.events").write_text("low 0\nmax 12\noom 1\noom_kill 1\n")
    assert cgroups.was_exceeded("default.f-0")
    assert not cgroups.was_exceeded("unknown")
    cgroups.remove("default.f-0")
    assert (made / "cgroup.kill").read_text() == "1"
    cgroups.remove("unknown")


def test_a_cgroup_that_holds_others_or_lacks_memory_is_left_alone(delegated: Path) -> None:
    assert find(delegated, 7) is None
    assert not (delegated / "cgroup" / "unit" / "stoker").exists()
    (delegated / "cgroup" / "unit" / "cgroup.controllers").write_text("cpu")
    assert find(delegated, 7, 8) is None
    (delegated / "proc" / "self" / "cgroup").write_text("4:memory:/v1\n")
    assert find(delegated, 7, 8) is None
    (delegated / "proc" / "self" / "cgroup").unlink()
    assert find(delegated, 7, 8) is None


def test_a_limit_that_the_kernel_refuses_falls_back_to_watching(delegated: Path) -> None:
    cgroups = find(delegated, 7, 8)
    assert cgroups is not None
    assert cgroups.make("a/b/c", 64) is None


def test_output_is_kept_in_a_file_of_bounded_size_and_one_old_one(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "logs" / "f.log", max_bytes=100)
    for number in range(30):
        log.write(f"line {number:04}\n".encode())
    log.close()
    now, old = (tmp_path / "logs" / name for name in ("f.log", "f.log.1"))
    assert 0 < now.stat().st_size <= 100
    assert 0 < old.stat().st_size <= 100
    assert sorted(path.name for path in now.parent.iterdir()) == ["f.log", "f.log.1"]
    assert now.read_text().endswith("line 0029\n")
    assert log.tail() == [f"line {number:04}" for number in range(10, 30)]


def test_an_endless_line_and_bytes_that_are_no_text_stay_bounded(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "f.log")
    for _ in range(100):
        log.write(b"x" * 10_000)
    assert len(log._partial) <= 8 * LINE_CHARS
    log.write(b"\n\xff\xfe\r\n")
    tail = log.tail()
    assert len(tail[0]) == LINE_CHARS
    assert tail[1] == "\ufffd\ufffd"
    log.close()


def test_a_place_that_cannot_be_written_loses_the_output_but_not_the_last_lines(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = OutputLog(tmp_path / "file" / "below" / "f.log")
    log.write(b"still here\n")
    assert log.tail() == ["still here"]
    log.close()
