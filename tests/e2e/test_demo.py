"""`make demo` as a newcomer runs it: it shows what it promises, and nothing of it is left however it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]

ROOT = Path(__file__).parents[2]


class Demo:
    """The demo in a session of its own, with a HOME of its own; its processes are found by that HOME."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.output = home / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "examples/demo", *arguments],
                cwd=ROOT,
                env={"PATH": "/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(home), "COLUMNS": "200"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.home = str(home).encode()

    def text(self) -> str:
        return self.output.read_text()

    def until(self, words: str, ceiling_s: float = 60) -> None:
        deadline = time.monotonic() + ceiling_s
        while words not in self.text():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, f"{words!r} was not shown:\n{self.text()}"
            time.sleep(0.02)

    def left(self) -> list[str]:
        """Command lines of live processes that began with this demo: serve, spawner and replicas included."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.home in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return [command for command in found if command]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A HOME; whatever process still has it in its environment at the end is killed."""
    yield tmp_path
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(tmp_path).encode() in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue


def test_it_shows_both_models_a_refusal_and_the_contrast_and_stays_up_until_ctrl_c(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        demo = Demo(home, "--port", str(port), "--keep")
        demo.until("In another terminal", ceiling_s=120)
    text = demo.text()
    assert len(re.findall(r"^ {3}(?:curl|\.venv/bin/stoker) ", text, re.MULTILINE)) == 3
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(30) == 0
    assert demo.left() == []
    assert f"Port {port} or {port + 1} is taken" in text
    assert "Region-based segmentation" in text
    assert re.search(r"speech at 0\.\d\d-2\.\d\d s, 3\.\d\d-8\.\d\d s", text)
    assert len(re.findall(r"^ +cold +200 in .*late.*Server-Timing: .*start;dur=", text, re.MULTILINE)) >= 1
    assert len(re.findall(r"^ +warm +200 in .*on time.*exec;dur=", text, re.MULTILINE)) >= 2
    assert "computed on the cpu" in text
    assert re.search(r"reason: PredictedMiss", text)
    assert re.search(r"Retry-After: [1-9]", text)
    explained = re.search(r"\$ stoker explain \S+\n((?:     .*\n)+)", text)
    assert explained is not None
    assert "Refused (429 PredictedMiss)" in explained[1]
    found = re.findall(r"^ *(fcfs|least-slack|admission) +both((?: +\d+)+) *$", text, re.MULTILINE)
    rows = {policy: [int(figure) for figure in row.split()] for policy, row in found}
    assert len({row[0] for row in rows.values()}) == 1, "the same arrivals"
    assert len(rows) == 3
    offered, on_time, _, refused, told_when, _, gpu_ms = rows["admission"]
    assert offered > 150
    assert on_time > rows["fcfs"][1]
    assert told_when == refused > 0
    assert gpu_ms < min(rows["least-slack"][6], rows["fcfs"][6])


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("$ stoker serve", signal.SIGINT),  # serve is starting
        ("1  Text recognition", signal.SIGTERM),  # a replica is starting, a request is held
        ("2  Speech activity", signal.SIGHUP),  # a replica is warm
    ],
)
def test_nothing_is_left_when_it_is_interrupted(home: Path, words: str, number: signal.Signals) -> None:
    demo = Demo(home, "--port", "21080")
    demo.until(words)
    time.sleep(0.3)
    demo.process.send_signal(number)
    demo.process.send_signal(signal.SIGINT)  # an impatient user
    assert demo.process.wait(30) in {128 + number, 128 + signal.SIGINT}, demo.text()
    assert demo.left() == []
    assert "Traceback" not in demo.text()
