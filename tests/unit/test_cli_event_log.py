"""`stoker sim replay` and `stoker sim whatif` from the command line, and how a log is opened."""

import gzip
from pathlib import Path

import pytest
from event_logs import Files, ScriptedAgent, changed, recording

from stoker.replay.lines import records_of
from stoker.replay.records import VERSION, Closed, Header
from stoker_cli.console import CommandFailed
from stoker_cli.event_log import EventLog
from stoker_cli.main import run
from stoker_cli.serve import clock_us

pytestmark = pytest.mark.unit

SMALL = Path(__file__).parents[1] / "golden" / "files" / "event-log.jsonl.gz"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    files = Files()
    recorder = recording(files)
    ScriptedAgent(recorder, "edf").run(30)
    recorder.close()
    path = tmp_path / "decisions.log"
    path.write_bytes(b"".join(files.lines))
    return path


def test_replay_counts_the_decisions_of_each_kind(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", "replay", str(log)]) == 0
    out = capsys.readouterr().out
    assert "30  pop       which request runs next" in out
    assert "The process ended in order.\n" in out
    assert out.endswith(" decisions compared, all of them the same.\n")


def test_replay_shows_the_first_difference_in_full_and_exits_with_1(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    at = next(index for index, line in enumerate(lines) if b'"event":"pop"' in line)
    lines[at] = changed(lines[at], got="nobody")
    log.write_bytes(b"".join(lines))
    assert run(["sim", "replay", str(log), str(log)]) == 1
    out = capsys.readouterr().out
    assert f"line {at + 1}, pop: which request runs next" in out
    assert "recorded  'nobody'" in out
    assert '"got":"nobody"' in out


def test_replay_reads_compressed_files_and_tells_of_a_line_that_was_cut(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = log.with_suffix(".log.gz")
    packed.write_bytes(gzip.compress(log.read_bytes()[:-5]))
    assert run(["sim", "replay", str(packed)]) == 0
    out = capsys.readouterr().out
    assert "was not written to its end and is left out." in out
    assert "The log does not say why it ends" in out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not a log\n", "line 1: it is no header of an event log"),
        (None, "cannot be read: no such file or directory."),
    ],
)
def test_what_is_no_log_is_one_sentence_and_exit_code_2(
    tmp_path: Path, content: bytes | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)
    for command in (["sim", "replay", str(path)], ["sim", "whatif", str(path), "--gpus", "2"]):
        assert run(command) == 2
        assert said in capsys.readouterr().err


def test_a_compressed_file_that_is_damaged_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.gz"
    for content in (b"not compressed", gzip.compress(SMALL.read_bytes() * 2)[:2000]):
        path.write_bytes(content)
        assert run(["sim", "replay", str(path)]) == 2
        assert capsys.readouterr().err.startswith(f"stoker: {path}")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Nothing is to be different; give --policy, --gpus or --replace."),
        (["--replace", "T4"], "--replace T4 names no two products; write OLD=NEW, as in T4=L4-24GB."),
        (["--replace", "K80=T4"], "there is no GPU of product K80 in the log"),
        (["--policy", "lifo"], "no queueing policy is named 'lifo'"),
        (["--gpus", "1", "--json", "no/such.json"], "no is no folder; make it first"),
    ],
)
def test_a_change_that_cannot_be_is_one_sentence(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sim", "whatif", str(SMALL), *options]) == 2
    assert said in capsys.readouterr().err


def opened(path: Path) -> EventLog:
    return EventLog(path, file_mib=1, files=2, clock_us=clock_us, version="1.2.3")


def test_an_event_log_begins_with_who_wrote_it_and_ends_with_why(tmp_path: Path) -> None:
    log = opened(tmp_path / "log")
    log.recorder(())
    log.close()
    with (tmp_path / "log").open("rb") as lines:
        (_, first), *_, (_, last) = records_of(lines)
    assert isinstance(first, Header)
    assert (first.stoker, first.version, last) == ("1.2.3", VERSION, Closed())


def test_a_log_that_was_never_begun_leaves_an_empty_file(tmp_path: Path) -> None:
    opened(tmp_path / "log").close()
    opened(tmp_path / "log").close()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_place_for_a_log_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.write_text("mine")
    for path, reason in (
        (notes, "exists and is no event log"),
        (tmp_path, "is a folder"),
        (tmp_path / "no" / "log", "no such file or directory"),
    ):
        with pytest.raises(CommandFailed, match=reason):
            opened(path)
    assert notes.read_text() == "mine"
