"""A refused call comes back when it was told to, with its ticket, and no longer than it was asked to."""

import http.server
import threading
from collections.abc import Iterator
from email.message import Message
from http.client import HTTPMessage
from pathlib import Path
from typing import Any, ClassVar

import pytest

from stoker.wire.agent import H_TICKET
from stoker_cli.coming_back import ComeBack, told, with_ticket
from stoker_cli.invoke import Call, invoke, promised

pytestmark = pytest.mark.unit

Told = tuple[int, dict[str, str]]


class Script(http.server.BaseHTTPRequestHandler):
    """Gives the answers of a list, then 200 with what was sent."""

    protocol_version = "HTTP/1.1"
    answers: ClassVar[list[Told]] = []
    seen: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append((self.headers.get(H_TICKET, ""), body))
        status, headers = self.answers.pop(0) if self.answers else (200, {"Stoker-Outcome": "served"})
        content = b"refused" if status != 200 else body
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def url() -> Iterator[str]:
    Script.answers, Script.seen = [], []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def refusal(ms: int, ticket: str = "") -> Told:
    headers = {"Stoker-Outcome": "refused", "Retry-After": "1", "Stoker-Retry-After-Ms": str(ms)}
    return 429, headers | ({"Stoker-Ticket": ticket} if ticket else {})


def test_it_comes_back_with_the_newest_ticket_and_the_whole_body(
    url: str, environ: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "body"
    source.write_bytes(b"picture")
    Script.answers = [refusal(20, "one"), refusal(20), refusal(20, "two")]
    assert invoke(Call(function="f", data=f"@{source}", url=url, retry="30s"), environ) == 0
    # An answer without a new ticket says nothing against the old one.
    assert Script.seen == [("", b"picture"), ("one", b"picture"), ("one", b"picture"), ("two", b"picture")]
    out, err = capfd.readouterr()
    assert out == "picture", "the bodies of refusals are no result"
    assert err.count("\n") == 4
    assert "coming back in 20 ms with its ticket" in err
    assert "200 served" in err.splitlines()[-1]


def test_it_does_not_wait_beyond_what_it_was_given(
    url: str, environ: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    Script.answers = [refusal(60_000)]
    assert invoke(Call(function="f", data="x", url=url, retry="1s"), environ) == 1
    out, err = capfd.readouterr()
    assert (out, len(Script.seen)) == ("refused", 1)
    assert "429 refused" in err
    assert "coming back" not in err


def test_without_the_option_it_is_called_once(url: str, environ: dict[str, str]) -> None:
    Script.answers = [refusal(1)]
    assert invoke(Call(function="f", data="x", url=url), environ) == 1
    assert len(Script.seen) == 1


def test_what_is_no_refusal_is_not_repeated(url: str, environ: dict[str, str]) -> None:
    Script.answers = [(502, {"Stoker-Outcome": "unknown", "Stoker-Retry-After-Ms": "1"})]
    assert invoke(Call(function="f", data="x", url=url, retry="1s"), environ) == 1
    assert len(Script.seen) == 1, "the work may have been done"


def headers_of(**values: str) -> HTTPMessage:
    message: Message = HTTPMessage()
    for name, value in values.items():
        message[name.replace("_", "-")] = value
    assert isinstance(message, HTTPMessage)
    return message


def test_the_finer_time_goes_before_whole_seconds_and_what_is_no_time_is_none() -> None:
    both = headers_of(Retry_After="2", Stoker_Retry_After_Ms="1234", Stoker_Ticket="t")
    assert told(429, both) == ComeBack(1.234, "t")
    assert told(503, headers_of(Retry_After="2")) == ComeBack(2.0, "")
    assert told(200, both) is None
    assert told(503, headers_of(Retry_After="Fri, 31 Dec 1999 23:59:59 GMT")) is None
    hasty = told(429, headers_of(Stoker_Retry_After_Ms="0"))
    assert hasty is not None
    assert hasty.after_s > 0


def test_a_ticket_takes_the_place_of_the_users_own() -> None:
    mine = [("X-Mine", "1"), ("stoker-ticket", "old")]
    assert with_ticket(mine, "new") == [("X-Mine", "1"), ("Stoker-Ticket", "new")]
    assert with_ticket(mine, "") == mine


def test_a_promise_is_told_as_one_and_an_estimate_as_one() -> None:
    assert promised("predicted=35.200, latest=52.000") == "promised within 52 ms"
    assert promised("predicted=35.200, latest=52.000, estimated") == "estimated within 52 ms"
    assert [promised(text) for text in ("", "latest=soon", "latest=inf", "predicted=1")] == ["", "", "", ""]
