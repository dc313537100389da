"""What invoke sends is what the user wrote, or nothing is sent."""

import http.client
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from stoker.errors import StokerError
from stoker_cli.outgoing import body_of, headers_of, send

pytestmark = pytest.mark.unit


class Recording(http.client.HTTPConnection):
    """Writes what would go out into `sent`."""

    def __init__(self) -> None:
        super().__init__("function.example", 80)
        self.sent = b""

    def send(self, data: Any) -> None:
        self.sent += data if isinstance(data, bytes) else data.read()


def test_a_header_may_be_given_several_times_and_goes_out_in_utf_8() -> None:
    connection = Recording()
    send(connection, "GET", "/x", headers_of(["X-One: 1", "x-one: 2", "X-Name: Zoë €", "Empty:"], "2s"), None)
    lines = connection.sent.split(b"\r\n")
    assert lines[0] == b"GET /x HTTP/1.1"
    assert lines[1:3] == [b"Host: function.example", b"Accept-Encoding: identity"]
    assert lines[3:-2] == [b"X-One: 1", b"x-one: 2", "X-Name: Zoë €".encode(), b"Empty: ", b"Stoker-Deadline-Ms: 2000"]


def test_host_and_accept_encoding_of_the_user_take_the_place_of_ours() -> None:
    connection = Recording()
    send(connection, "GET", "/", headers_of(["Host: other", "Accept-Encoding: gzip"], None), None)
    assert connection.sent == b"GET / HTTP/1.1\r\nHost: other\r\nAccept-Encoding: gzip\r\n\r\n"


@pytest.mark.parametrize(
    "line", ["", "x", ": x", "a b: c", "x: a\r\ny: b", "x: \x00", "Content-Length: 5", "transfer-encoding: chunked"]
)
def test_what_is_no_header_or_would_break_the_framing_is_refused(line: str) -> None:
    with pytest.raises(StokerError, match="--header"):
        headers_of([line], None)


@pytest.mark.parametrize(
    ("deadline", "sent"), [("100us", "1"), ("200ms", "200"), ("1m", "60000"), ("1h", "3600000"), ("9999h", "999999999")]
)
def test_a_deadline_goes_as_milliseconds(deadline: str, sent: str) -> None:
    assert headers_of([], deadline) == [("Stoker-Deadline-Ms", sent)]


@pytest.mark.parametrize("deadline", ["", "0", "0s", "-1s", "1.5s", "5", "1d", "NaN", "5 s", "5S"])
def test_a_deadline_that_is_none_is_refused(deadline: str) -> None:
    with pytest.raises(StokerError, match="--deadline"):
        headers_of([], deadline)


def test_a_text_goes_with_its_kind_and_length_unless_the_user_names_the_kind() -> None:
    headers = headers_of(["content-type: a/b"], None)
    assert body_of('{"ü": 1}', headers) == '{"ü": 1}'.encode()
    assert headers == [("content-type", "a/b"), ("Content-Length", "9")]
    headers = []
    assert body_of("", headers) == b""
    assert headers == [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "0")]


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"from a pipe",))
    writer.start()
    headers: list[tuple[str, str]] = []
    assert body_of(f"@{tmp_path}/pipe", headers) == b"from a pipe"
    assert ("Content-Length", "11") in headers
    writer.join()
