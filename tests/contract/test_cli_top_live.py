"""`stoker top` on a terminal redraws, and leaves it as it was."""

import http.server
import os
import pty
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stoker_cli.state_file import ServeState, write_state
from stoker_cli.state_view import StateView

pytestmark = pytest.mark.contract

STOKER = str(Path(sys.executable).with_name("stoker"))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        view = StateView(
            pid=1, url="http://gateway", uptime_s=1, queueing="edf", draining=False, functions={}, devices=[]
        )
        self.send_response(200)
        self.end_headers()
        self.wfile.write(msgspec.json.encode(view))

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    environ = {"HOME": str(tmp_path), "TERM": "xterm"}
    write_state(ServeState(pid=os.getpid(), url=url, internal=url, started="2026"), environ)
    yield environ
    server.shutdown()
    server.server_close()


def read_until(terminal: int, text: bytes, count: int, within_s: float = 8) -> bytes:
    seen, end = b"", time.monotonic() + within_s
    while seen.count(text) < count and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                seen += os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
    return seen


def start_top(environ: dict[str, str]) -> tuple[subprocess.Popen[bytes], int]:
    terminal, inner = pty.openpty()
    process = subprocess.Popen([STOKER, "top"], env=environ, stdin=inner, stdout=inner, stderr=inner)
    os.close(inner)
    return process, terminal


def test_top_redraws_on_the_alternate_screen_and_gives_it_back_on_ctrl_c(environ: dict[str, str]) -> None:
    process, terminal = start_top(environ)
    assert b"\x1b[?1049h" in read_until(terminal, b"http://gateway", 2)
    process.send_signal(2)
    end = read_until(terminal, b"\x1b[?1049l", 1)
    assert b"\x1b[?25h" in end, "the cursor shows again"
    assert b"Traceback" not in end
    assert process.wait(5) == 130
    os.close(terminal)


def test_top_on_a_dumb_terminal_prints_once(environ: dict[str, str]) -> None:
    process, terminal = start_top(environ | {"TERM": "dumb"})
    assert b"http://gateway" in read_until(terminal, b"http://gateway", 1)
    assert process.wait(5) == 0
    os.close(terminal)
