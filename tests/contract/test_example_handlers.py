"""What every handler in examples/ promises: ready when it listens, connections kept, honest on what computed it."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.contract, pytest.mark.timeout(60)]

EXAMPLES = Path(__file__).parents[2] / "examples"
SIMULATED = {"STOKER_DEVICE": "A100-40GB/sim-0 (simulated)", "STOKER_DEVICE_SIMULATED": "1"}
GOOD = {"ocr": ("/", "ocr/page.png"), "vad": ("/", "vad/speech.wav"), "busy": ("/?ms=1", None)}


class Handler:
    """A handler run as the process launcher runs it: in its folder, with PORT."""

    def __init__(self, name: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        path, sample = GOOD[name]
        self.path, self.sample = path, (EXAMPLES / sample).read_bytes() if sample else b""
        self.process = subprocess.Popen(
            [sys.executable, "handler.py"],
            cwd=EXAMPLES / name,
            env={"PATH": os.environ["PATH"], "PORT": str(self.port), **SIMULATED},
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 40
        while not self._listens():
            assert self.process.poll() is None, f"{name} ended with {self.process.returncode}"
            assert time.monotonic() < deadline, f"{name} does not listen"
            time.sleep(0.05)
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def post(self, body: bytes | None = None, path: str | None = None) -> tuple[int, Any]:
        self.connection.request("POST", path or self.path, body=self.sample if body is None else body)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def close(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def handlers() -> Iterator[dict[str, Handler]]:
    running: dict[str, Handler] = {}
    try:
        for name in GOOD:
            running[name] = Handler(name)
        yield running
    finally:
        for started in running.values():
            started.close()


@pytest.fixture(params=sorted(GOOD))
def handler(request: pytest.FixtureRequest, handlers: dict[str, Handler]) -> Handler:
    return handlers[request.param]


def test_an_answer_says_which_device_it_stands_for_and_that_it_is_simulated(handler: Handler) -> None:
    status, value = handler.post()
    assert status == 200
    assert (value["device"], value["simulated"]) == (SIMULATED["STOKER_DEVICE"], True)
    assert value.get("computedOn", "cpu") == "cpu"


def test_a_connection_is_kept_over_good_and_bad_requests(handler: Handler) -> None:
    assert handler.post()[0] == 200
    connected = handler.connection.sock
    status, value = handler.post(b"garbage", "/?ms=garbage")
    assert status == 400
    assert value["error"]
    assert handler.post()[0] == 200
    assert handler.connection.sock is connected is not None


def test_text_recognition_reads_the_words_on_the_photographed_page(handlers: dict[str, Handler]) -> None:
    _, value = handlers["ocr"].post()
    text = " ".join(line["text"] for line in value["lines"])
    assert "Region-based segmentation" in text
    assert "histogram of grey values" in text
    assert all(0 < line["confidence"] <= 1 for line in value["lines"])


def test_speech_activity_finds_the_two_sentences_and_the_pause_between(handlers: dict[str, Handler]) -> None:
    _, value = handlers["vad"].post()
    first, second = value["segments"]
    assert 0 < first["start_s"] < 1
    assert 2 < first["end_s"] < second["start_s"] < 4
    assert 7 < second["end_s"] < 8.3
    assert 0.8 < value["speechRatio"] < 1


def test_a_recording_of_another_form_is_refused_with_what_is_wrong(handlers: dict[str, Handler]) -> None:
    mono = handlers["vad"].sample
    stereo = mono[:22] + (2).to_bytes(2, "little") + mono[24:]
    status, value = handlers["vad"].post(stereo)
    assert (status, "mono" in value["error"]) == (400, True)
