"""Records as lines of JSON, and back. A last line that was cut off is told apart from one that is wrong."""

from collections.abc import Callable, Iterable, Iterator

import msgspec
from msgspec import Struct

from stoker.errors import StokerError
from stoker.replay.records import FORMAT, VERSION, Header, Record

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class BadLog(StokerError):  # noqa: N818  the name states the fact
    """A file is no event log that can be replayed. `line` counts from 1; `reason` is one sentence."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class _Opening(Struct):
    """What every version has."""

    event: str = ""
    format: str = ""
    version: int = 0


def line_of(record: Record) -> bytes:
    """The line, with its end."""
    return _ENCODER.encode(record) + b"\n"


def records_of(lines: Iterable[bytes], on_cut: Callable[[int], None] = lambda _: None) -> Iterator[tuple[int, Record]]:
    """The records of a file with the numbers of their lines, from 1; its Header first. BadLog for what is wrong.

    A last line without its end was being written when the process or the disk ended: it is left out, and `on_cut` is
    told its number.
    """
    number = 0
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            if number == 1:
                break
            on_cut(number)
            return
        if number == 1:
            _check_opening(line)
        try:
            record = _DECODER.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadLog(number, f"it is no record of an event log ({error})") from error
        if isinstance(record, Header) is not (number == 1):
            raise BadLog(number, "a file of the log has one header, on its first line")
        yield number, record
    if number == 0 or not line.endswith(b"\n"):
        raise BadLog(1, "the file has no whole line; it is no event log, or nothing was logged yet")


def _check_opening(line: bytes) -> None:
    try:
        opening = msgspec.json.decode(line, type=_Opening)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        opening = _Opening()
    if opening.format != FORMAT:
        raise BadLog(1, "it is no header of an event log; write one by stoker serve --event-log FILE")
    if opening.version != VERSION:
        raise BadLog(
            1, f"the log has version {opening.version} and this Stoker replays {VERSION}: use the one that wrote it"
        )
