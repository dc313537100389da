"""The load generator against a scripted server: nothing waits for answers, and clients come again as they were told."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from bench.overload import generator
from bench.overload.calls import GAVE_UP, LOST, OK, OPEN, Attempt, Plan, Stream
from bench.overload.generator import Generator

pytestmark = pytest.mark.unit

Answer = Callable[[bytes], bytes | None]
"""What to send for a request; None: nothing, and the connection stays open."""
FINE = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nserver-timing: queue;dur=1.5, exec;dur=8, start;dur=0\r\n"
    b"stoker-device: sim-0\r\n\r\nok"
)
BODY = b'{"status":429,"reason":"PredictedMiss"}'
REFUSED = (
    b"HTTP/1.1 429 Too Many Requests\r\nstoker-retry-after-ms: 60\r\nStoker-Ticket: AbC=\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "LEAD_US", 1_000)


@contextmanager
def scripted(answer: Answer) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def converse(connection: socket.socket) -> None:
        with connection:
            data = b""
            while more := connection.recv(65536):
                data += more
                if data.endswith(b"\r\n\r\n"):
                    said = answer(data)
                    data = b""
                    if said == b"":
                        return
                    if said is not None:
                        connection.sendall(said)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=converse, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def played(answer: Answer, stream: Stream, at_us: list[int], *, linger_us: int = 2_000_000) -> list[Attempt]:
    with scripted(answer) as port:
        calls = len(at_us)
        plan = Plan(
            port=port,
            streams=(stream,),
            at_us=at_us,
            stream=[0] * calls,
            units=[8.125] * calls,
            linger_us=linger_us,
        )
        return Generator(plan).play().attempts


def test_every_call_is_sent_though_no_answer_comes() -> None:
    found = played(lambda _: None, Stream(target="/f/"), [0, 1_000, 2_000, 30_000], linger_us=50_000)
    assert [(attempt.call, attempt.status) for attempt in found] == [(n, OPEN) for n in range(4)]
    assert all(attempt.sent_us >= attempt.due_us for attempt in found)


def test_an_answer_is_read_with_what_the_platform_says_of_it() -> None:
    asked: list[bytes] = []

    def answer(data: bytes) -> bytes:
        asked.append(data)
        return FINE

    (found,) = played(answer, Stream(target="/default/f/"), [0])
    assert asked[0].startswith(b"GET /default/f/?units=8.125 HTTP/1.1\r\n")
    assert b"stoker-request-id: r0-0\r\n" in asked[0]
    assert (found.status, found.queue_us, found.exec_us, found.device) == (OK, 1500, 8000, "sim-0")


def test_a_refused_client_comes_again_when_it_was_told_to_and_with_its_ticket() -> None:
    def answer(data: bytes) -> bytes:
        return FINE if b"stoker-ticket: AbC=\r\n" in data else REFUSED

    first, second = played(answer, Stream(target="/", retries=1, honours=True, tickets=True), [0])
    assert (first.status, first.reason, first.retry_after_us, first.offered) == (429, "PredictedMiss", 60_000, True)
    assert (second.number, second.status, second.ticket) == (1, OK, True)
    assert second.due_us == first.ended_us + 60_000
    assert second.sent_us >= second.due_us


def test_a_client_that_heeds_nothing_comes_again_at_once_and_so_often() -> None:
    found = played(lambda _: REFUSED, Stream(target="/", retries=3), [0])
    assert [attempt.number for attempt in found] == [0, 1, 2, 3]
    assert [later.due_us for later in found[1:]] == [earlier.ended_us for earlier in found[:-1]]
    assert not any(attempt.ticket for attempt in found)


def test_a_client_whose_patience_is_over_leaves_and_tries_again() -> None:
    found = played(lambda _: None, Stream(target="/", retries=1, patience_us=30_000), [0])
    assert [attempt.status for attempt in found] == [GAVE_UP, GAVE_UP]
    assert all(attempt.ended_us - attempt.due_us >= 30_000 for attempt in found)


def test_a_connection_that_is_cut_is_a_lost_attempt() -> None:
    assert [attempt.status for attempt in played(lambda _: b"", Stream(target="/"), [0])] == [LOST]
