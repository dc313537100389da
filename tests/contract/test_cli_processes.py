"""`stoker` as a process of its own: what it loads, and streams, disks and limits that are not as they should be."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.contract

STOKER = str(Path(sys.executable).with_name("stoker"))


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").touch()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from stoker_cli.main import run; run(['--help']); "
        "print(sorted({'aiohttp', 'uvloop', 'rich', 'yaml', 'cryptography', 'asyncio', 'numpy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_reason_to_fail(closed: str) -> None:
    assert subprocess.run(["/bin/sh", "-c", f"{STOKER} --version {closed}"], check=False).returncode == 0


def test_a_full_disk_under_the_output_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([STOKER, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "stoker: The output could not be written: No space left on device.\n"


def test_too_few_open_files_are_one_sentence() -> None:
    command = f"ulimit -n 64; {STOKER} serve x.yaml --gpus none --port 0"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("stoker: Only 64 files")
    assert len(done.stderr.splitlines()) == 1
