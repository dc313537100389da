"""Logs are one JSON object a line off a terminal, and a broken stream ends nothing."""

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest
import structlog

from stoker_runtime.logs import REQUEST_ID, BackgroundWriter, configure_logs

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


def test_off_a_terminal_a_line_is_one_json_object() -> None:
    out = io.StringIO()
    configure_logs(stream=out)
    structlog.get_logger().info("request_refused", **{REQUEST_ID: "r-1"}, reason="QueueFull")
    line = json.loads(out.getvalue())
    assert line["event"] == "request_refused"
    assert line["request_id"] == "r-1"
    assert line["level"] == "info"
    assert line["timestamp"].endswith("Z")


def test_on_a_terminal_a_line_is_for_people() -> None:
    out = Terminal()
    configure_logs(stream=out)
    structlog.get_logger().info("replica_warm", function="default/ocr")
    assert "replica_warm" in out.getvalue()
    assert not out.getvalue().startswith("{")


def test_a_terminal_takes_no_orders_from_what_a_line_quotes() -> None:
    out = io.StringIO()
    configure_logs("info", "console", out)
    structlog.get_logger().info("replica_gone", detail="\x1b]0;title\x07", said="two\nlines \x1b[31m")
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().count("\n") == 1
    assert "title" in out.getvalue()


def test_a_line_below_the_level_is_not_written() -> None:
    out = io.StringIO()
    configure_logs("warning", "json", out)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["loud"]


def test_a_value_that_json_does_not_know_is_written_as_text() -> None:
    out = io.StringIO()
    configure_logs("info", "json", out)
    structlog.get_logger().info("odd", what={1, 2}.__class__)
    assert "set" in json.loads(out.getvalue())["what"]


def test_an_exception_and_a_library_warning_stay_on_one_line() -> None:
    out = io.StringIO()
    configure_logs("info", "json", out)
    try:
        int("broken")
    except ValueError:
        structlog.get_logger().exception("failed")
    logging.getLogger("some.library").warning("careful %s", "now")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert "ValueError: invalid literal" in first["exception"]
    assert second["event"] == "careful now"


def test_a_broken_stream_raises_nothing() -> None:
    configure_logs("info", "json", Broken())
    structlog.get_logger().info("nobody_reads_this")


def test_a_reader_that_stalls_stalls_no_caller_and_learns_of_what_was_dropped() -> None:
    import os

    read, write = os.pipe()
    with open(write, "w", encoding="utf-8") as stream:
        writer = BackgroundWriter(stream, most=10)
        for number in range(2000):  # more than the pipe and the queue hold
            writer.write(f"{number} {'x' * 1000}\n")
        chunks = []
        with open(read, encoding="utf-8") as reader:
            while "log_lines_dropped" not in (line := reader.readline()):
                chunks.append(line)
            assert chunks[0].startswith("0 x")
            assert len(chunks) < 2000
            drainer = threading.Thread(target=lambda: [None for _ in reader], daemon=True)
            drainer.start()
            writer.write("the end\n")
            writer.drain(5)
            stream.close()
            drainer.join(5)
