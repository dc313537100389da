"""Every mistake on the command line is one sentence on stderr and exit code 2."""

from pathlib import Path

import pytest

from stoker_cli.main import run

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").touch()


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["frobnicate"], "frobnicate"),
        (["serve"], "FILE"),
        (["serve", "x.yaml", "--prot", "1"], "--port"),
        (["serve", "x.yaml", "--port", "99999"], "--port"),
        (["serve", "x.yaml", "--drain", "soon"], "--drain"),
        (["serve", "x.yaml", "--gpus", "many"], "--gpus"),
        (["serve", "x.yaml", "--queueing", "lifo"], "lifo"),
        (["serve", "x.yaml", "--log-format", "xml"], "console"),
        (["serve", "x.yaml", ""], "empty name"),
        (["servee"], "Did you mean 'serve'? See: stoker --help"),
        (["serve", "missing.yaml", "--gpus", "none"], "missing.yaml"),
        (["invoke", "ocr"], "stoker serve FILE"),
        (["invoke", "ocr", "--url", "nonsense"], "--url"),
        (["invoke", "ocr", "--url", "http://127.0.0.1:99999"], "--url"),
        (["invoke", "ocr", "--url", "http://[::1"], "--url"),
        (["invoke", "ocr", "--url", "http://me:secret@127.0.0.1:9"], "--url"),
        (["invoke", "ocr", "--url", "http://127.0.0.1:9/?x=1"], "--url"),
        (["invoke", "ocr", "--url", "http://127.0.0.1:9", "--deadline", "0s"], "--deadline"),
        (["invoke", "ocr", "--url", "http://127.0.0.1:9"], "cannot be reached"),
        (["invoke", "ocr", "--url", "http://127.0.0.1:9", "--deadline", "soon"], "--deadline"),
        (["invoke", "ocr", "--url", "http://127.0.0.1:9", "-d", "@/does/not/exist"], "/does/not/exist"),
        (["invoke", "ocr", "--url", "http://127.0.0.1:9", "--header", "oops"], "--header"),
        (["invoke", "ocr", "--url", "http://127.0.0.1:9", "-o", "/does/not/exist"], "/does/not/exist"),
        (["invoke", "ocr", "--url", "http://127.0.0.1:9", "-o", "x", "-d", "@x"], "overwrite"),
        (["explain", "r-1"], "stoker serve FILE"),
        (["top", "--once"], "stoker serve FILE"),
        (["top", "--port", "7070"], "7070"),
    ],
)
def test_a_mistake_is_one_sentence_with_exit_code_2(
    arguments: list[str], names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert names in err


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["serve", "-h"], ["invoke", "-h"], ["top", "-h"], ["explain", "-h"], ["--version"]]
)
def test_help_and_version_succeed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 0
    assert capsys.readouterr().out
