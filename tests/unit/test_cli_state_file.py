"""State files name the instances that run, and no others."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

from stoker_cli.console import CommandFailed
from stoker_cli.log_folder import log_folder
from stoker_cli.state_file import (
    ServeState,
    choose,
    process_start,
    remove_state,
    running,
    state_folder,
    survey,
    write_state,
)

pytestmark = pytest.mark.unit

ME = os.getpid()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def state(port: int = 8080, pid: int = ME, started: str = "2026-01-01T00:00:00.000000Z", start: int = 0) -> ServeState:
    return ServeState(
        pid=pid,
        url=f"http://127.0.0.1:{port}",
        internal=f"http://127.0.0.1:{port + 1}",
        started=started,
        process_start=start,
    )


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def test_the_folder_is_xdg_state_home_else_under_home_else_none() -> None:
    assert state_folder({"XDG_STATE_HOME": "/state", "HOME": "/home/me"}) == Path("/state/stoker")
    assert state_folder({"XDG_STATE_HOME": "relative", "HOME": "/home/me"}) == Path("/home/me/.local/state/stoker")
    assert state_folder({}) is None


def test_what_was_written_is_found_and_removed_by_its_process_only(environ: dict[str, str]) -> None:
    path = write_state(state(), environ)
    assert running(environ) == [state()]
    assert path.name == "serve-8080.json"
    assert [entry.name for entry in path.parent.iterdir()] == ["serve-8080.json"]
    remove_state(path, ME + 1)
    assert path.exists()
    remove_state(path, ME)
    remove_state(path, ME)
    assert running(environ) == []


def test_the_newest_instance_is_chosen_unless_a_port_is_named(environ: dict[str, str]) -> None:
    write_state(state(8080, started="2026-01-02T00:00:00.000000Z"), environ)
    write_state(state(9090, started="2026-01-01T00:00:00.000000Z"), environ)
    assert choose(environ, None).port == 8080
    assert choose(environ, 9090).port == 9090
    with pytest.raises(CommandFailed, match=r"runs on port 7070; those that run are on 8080, 9090"):
        choose(environ, 7070)


def test_no_instance_is_a_sentence_that_says_how_to_start_one(environ: dict[str, str]) -> None:
    with pytest.raises(CommandFailed, match="stoker serve FILE"):
        choose(environ, None)
    with pytest.raises(CommandFailed, match="none runs"):
        choose({}, 8080)


def test_files_of_dead_processes_are_ignored_and_removed(environ: dict[str, str]) -> None:
    path = write_state(state(pid=dead_pid()), environ)
    assert survey(environ) == ([], [path])
    assert path.exists()
    assert running(environ) == []
    assert not path.exists()


def test_a_process_id_that_was_given_out_again_is_not_taken_for_the_old_one(environ: dict[str, str]) -> None:
    start = process_start(ME)
    assert start
    write_state(state(8080, start=start + 1), environ)
    write_state(state(9090, start=start), environ)
    assert [found.port for found in running(environ)] == [9090]


def test_a_broken_file_is_ignored_and_kept(environ: dict[str, str]) -> None:
    path = write_state(state(), environ)
    path.write_text("{")
    assert running(environ) == []
    assert path.exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1", "", "http://127.0.0.1:port"])
def test_a_file_whose_url_has_no_port_is_ignored(environ: dict[str, str], url: str) -> None:
    path = write_state(state(), environ)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(state(), url=url)))
    assert running(environ) == []


def test_a_home_that_cannot_be_written_raises_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="directory"):
        write_state(state(), {"HOME": str(tmp_path / "file")})
    with pytest.raises(OSError, match="neither HOME"):
        write_state(state(), {})


def test_a_zombie_is_not_alive() -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(process.pid) is None
    process.wait()


def test_the_output_of_dead_instances_goes_when_the_next_one_starts(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    dead, alive, mine = (log_folder(environ, pid) for pid in (dead_pid(), os.getppid(), ME))
    for folder in (dead, alive, mine):
        folder.mkdir()
        (folder / "default.ocr.log").write_text("output")
    other = mine.parent / "notes"
    other.mkdir()
    assert log_folder(environ, ME) == mine
    assert not dead.exists()
    assert not mine.exists(), "what stands under our id is of an earlier process that had it, as in a container"
    assert (alive / "default.ocr.log").exists()
    assert other.exists()


def test_a_folder_of_another_user_in_the_temporary_one_gets_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"stoker-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    assert log_folder({}, ME).parent == tmp_path
    assert not any((tmp_path / "elsewhere").iterdir())


def test_output_goes_to_a_temporary_folder_where_home_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "file").write_text("")
    assert log_folder({"HOME": str(tmp_path / "file")}, ME) == log_folder({}, ME)
    assert log_folder({}, ME).is_relative_to(tmp_path)
