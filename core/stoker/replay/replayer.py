"""replay(): every decision of an event log made again by the core of today, from the recorded inputs.

It stops at the first decision that differs: those behind it follow from another state. It knows no file; the lines of
one are given.
"""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from stoker.model.function import Function
from stoker.replay.comparison import Comparison, Difference, Differs, Unknown
from stoker.replay.control_player import ControlPlayer
from stoker.replay.lines import BadLog, line_of, records_of
from stoker.replay.picture import BadPicture
from stoker.replay.places_player import PlacesPlayer
from stoker.replay.queue_player import QueuePlayer
from stoker.replay.records import Closed, Ended, Header, Record, Seen


class Replayed(Struct, kw_only=True):
    """What came of one file."""

    header: Header
    records: int = 0
    compared: dict[str, int] = {}
    """Decisions that were the recorded ones, by kind."""
    difference: Difference | None = None
    cut: int | None = None
    """Number of a last line that was not written whole, and was left out."""
    closed: str | None = None
    """Why the log ends, empty where the process ended in order; None: the log does not say."""
    ended: int = 0
    """Requests that ended, by the log."""

    @property
    def decisions(self) -> int:
        """Compared and equal, in all."""
        return sum(self.compared.values())


def replay(lines: Iterable[bytes]) -> Replayed:
    """Replay one file of a log. BadLog for what is no log, or refers to what it does not hold."""
    comparison = Comparison()
    functions: dict[int, Function] = {}
    queue = QueuePlayer(comparison, functions)
    control = ControlPlayer(comparison, functions, lambda: queue.predictions)
    places = PlacesPlayer(comparison)
    plays: dict[type, Callable[[Any], None]] = {**queue.plays, **places.plays, **control.plays}
    cuts: list[int] = []
    records = records_of(lines, cuts.append)
    _, header = next(records)
    assert isinstance(header, Header), "the reader gives it first"
    found = Replayed(header=header, records=1, compared=comparison.counts)
    for number, record in records:
        found.records += 1
        play = plays.get(type(record))
        if play is not None:
            found.difference = _played(play, number, record)
            if found.difference is not None:
                break
        elif isinstance(record, Seen):
            functions[record.ref] = record.function
        elif isinstance(record, Ended):
            found.ended += 1
        elif isinstance(record, Closed):
            found.closed = record.why
    found.cut = cuts[0] if cuts else None
    return found


def _played(play: Callable[[Any], None], number: int, record: Record) -> Difference | None:
    try:
        play(record)
    except (Unknown, BadPicture) as error:
        raise BadLog(number, str(error)) from error
    except Differs as differs:
        return _difference(number, record, differs.kind, repr(differs.recorded), repr(differs.replayed))
    except Exception as error:  # noqa: BLE001  whatever the core raises now it did not raise then
        return _difference(number, record, type(record).__name__, "an answer", f"{type(error).__name__}: {error}")
    return None


def _difference(number: int, record: Record, kind: str, recorded: str, replayed: str) -> Difference:
    line = line_of(record).decode().rstrip("\n")
    return Difference(line=number, kind=kind, record=line, recorded=recorded, replayed=replayed)
