"""Structured logs, to stderr: for people on a terminal, one JSON object a line elsewhere.

An event is a constant snake_case phrase; all that varies is a key. The id of a request is always `request_id`.
"""

import atexit
import logging
import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import msgspec
import structlog
from structlog.typing import Processor

REQUEST_ID = "request_id"
"""The one key under which every component writes the id of the request that a line is about."""

MAX_WAITING = 10_000
"""Lines that wait for a slow reader: a few megabytes at most."""
GATHER_S = 0.02
"""How long lines are gathered before they are written together (ours)."""
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_LEVEL_OF = {"warn": "warning", "exception": "error"}
"""Names of a logger's methods that are not those of its levels."""
_JSON = msgspec.json.Encoder(enc_hook=str)


def configure_logs(
    level: Literal["debug", "info", "warning", "error"] = "info",
    form: Literal["auto", "console", "json"] = "auto",
    stream: TextIO | None = None,
    *,
    background: bool = False,
) -> "LineWriter":
    """Set up structlog and the standard library's logging for this process; the last call wins.

    Returns where the lines go, for lines of other forms among them.

    `background`: lines are written by a thread, so that a reader who stalls (a full pipe) never stalls the caller.
    """
    out = sys.stderr if stream is None else stream
    writer = BackgroundWriter(out) if background else LineWriter(out)
    console = form == "console" or (form == "auto" and out.isatty())
    stamps: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f" if console else "iso", utc=not console),
    ]
    render: list[Processor] = (
        [_escape, structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json)]
    )
    structlog.configure(
        processors=[*stamps, *render] if console else [_json_line],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(writer),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    # Libraries that log by the standard library (asyncio, aiohttp) come out in the same form.
    handler = logging.StreamHandler(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=stamps, processors=[_drop_internals, *render])
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(_LEVELS[level], logging.WARNING))
    return writer


class LineWriter:
    """A stream that never fails its writer: a log that nobody can read (closed pipe, full disk) ends no request."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            return 0

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return

    def drain(self, within_s: float) -> None:
        """Wait until all lines are written, at most `within_s`."""


class BackgroundWriter(LineWriter):
    """Hands lines to a thread that writes them. Bounded: while nobody reads, lines are dropped and counted.

    The thread takes all lines of GATHER_S at once. Woken for each, it would fight the loop for the interpreter a
    thousand times a second: a refused request cost three times its CPU by that.
    """

    def __init__(self, stream: TextIO, most: int = MAX_WAITING) -> None:
        super().__init__(stream)
        self._most = most
        self._waiting: deque[str] = deque()
        self._dropped = 0
        self._busy = False
        """Lines wait, or are being written."""
        self._some = threading.Event()
        threading.Thread(target=self._run, name="log-writer", daemon=True).start()
        atexit.register(self.drain, 1.0)

    def write(self, text: str) -> int:
        if len(self._waiting) >= self._most:
            self._dropped += 1
            return len(text)
        self._waiting.append(text)
        if not self._busy:
            self._busy = True
            self._some.set()
        return len(text)

    def flush(self) -> None:
        """Nothing to do: the thread flushes after each burst."""

    def drain(self, within_s: float) -> None:
        end = time.monotonic() + within_s
        while self._busy and time.monotonic() < end:
            time.sleep(0.005)

    def _run(self) -> None:
        while True:
            self._some.wait()
            self._some.clear()
            time.sleep(GATHER_S)
            while self._waiting:
                taken = "".join(self._waiting.popleft() for _ in range(len(self._waiting)))
                if self._dropped:
                    dropped, self._dropped = self._dropped, 0
                    taken += f'{{"event":"log_lines_dropped","lines":{dropped}}}\n'
                super().write(taken)
                super().flush()
            self._busy = False
            if self._waiting:  # one came between the last look and now, and woke nobody
                self._busy = True
                self._some.set()


def _json_line(logger: Any, name: str, event: Any) -> str:
    """What the processors of the other form do together, at a third of their cost: every refused request is a line."""
    event["level"] = _LEVEL_OF.get(name, name)
    event["timestamp"] = _now()
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(logger, name, event)
    return _JSON.encode(event).decode()


_second: tuple[int, str] = (0, "")


def _now() -> str:
    """The wall clock in UTC, to the microsecond."""
    global _second  # noqa: PLW0603  a cache of a pure function of the clock
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    if _second[0] != seconds:
        _second = (seconds, datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
    return f"{_second[1]}.{nanos // 1000:06}Z"


def _to_json(event: Any, **_: Any) -> str:
    return _JSON.encode(event).decode()


def _escape(_logger: Any, _name: str, event: Any) -> Any:
    """The output of functions is quoted in lines, and the terminal of who reads them must not take orders from it."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception" and not value.isprintable():
            event[key] = repr(value)[1:-1]
    return event


def _drop_internals(_logger: Any, _name: str, event: Any) -> Any:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event
