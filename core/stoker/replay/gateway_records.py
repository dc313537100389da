"""Records of what a gateway keeps a state for: its device choice, and the shares of its hold."""

from msgspec import Struct

from stoker.admission import Course, Forecast
from stoker.agents_choice import GpuCrowd
from stoker.model.function import Variant
from stoker.replay.picture import Picture

FIELD = "event"
"""Of every record of a log: its kind."""


class Choosing(Struct, frozen=True, tag="choosing", tag_field=FIELD):
    """A device-choice policy begins to be asked: a fresh one, or one that goes on from the file before
    (stoker.device_chooser).
    """

    state: Picture


class Crowded(Struct, frozen=True, tag="crowd", tag_field=FIELD):
    """What is on the GPUs, for the next questions."""

    crowd: GpuCrowd


class Coursed(Struct, frozen=True, tag="course", tag_field=FIELD, omit_defaults=True):
    """Where a request goes first."""

    function: int
    forecasts: dict[Variant, Forecast]
    remaining_us: int
    course: Course
    wakes: bool = True


class Shares(Struct, frozen=True, tag="shares", tag_field=FIELD, omit_defaults=True):
    """The bounds of the hold, and who fills it at the begin of a file."""

    state: Picture
    of: str = ""
    """Which ones; empty: those of the hold."""


class Room(Struct, frozen=True, tag="room", tag_field=FIELD, omit_defaults=True):
    """Whether the hold is full for a namespace."""

    namespace: str
    body_bytes: int
    full: bool
    of: str = ""


class Held(Struct, frozen=True, tag="held", tag_field=FIELD, omit_defaults=True):
    """So many more requests of a namespace are held (fewer, where negative)."""

    namespace: str
    requests: int
    body_bytes: int
    of: str = ""
