"""What a device-choice policy is: GPU or CPU for each request of a function that has both variants.

The same live and simulated: each gateway has one (stoker.device_chooser), and asks it only for functions that have both
variants and permit Divert. A policy reads no clock; one that draws or remembers is an object for each place that
decides.
"""

from collections.abc import Mapping
from typing import ClassVar, Protocol

from msgspec import Struct

from stoker.model.function import Variant


class Side(Struct, frozen=True):
    """One variant, for one more request. Predictions in microseconds, at least 1 each."""

    exec_us: int
    """Its execution alone."""
    finish_us: int
    """From now to its end: wait, start-up where none is warm, execution (stoker.admission.Forecast)."""


class Queued(Struct, frozen=True):
    """Requests of one function on the GPUs."""

    count: int
    """Those that wait."""
    exec_us: int
    """Predicted execution time of one."""


class Arrival(Struct, frozen=True, kw_only=True):
    """A request that comes now, and what it finds."""

    function: str
    """Key."""
    gpu: Side
    cpu: Side | None
    """None: its function has no CPU variant."""
    remaining_us: int
    """Time left to its objective."""
    load_us: int = 0
    """Predicted execution time of all that runs or waits on the GPUs."""
    flows: Mapping[str, Queued] = {}
    """By function, those with requests that run or wait on the GPUs. A live view: read, never kept."""


class ChoiceParams(Struct, frozen=True, kw_only=True):
    """What a policy is made with; each takes what it knows and ignores the rest."""

    seed: int = 0
    """Of a policy that draws."""


DEFAULTS = ChoiceParams()


class DeviceChoice(Protocol):
    """See the module."""

    name: ClassVar[str]
    compares: ClassVar[bool]
    """It decides by execution times: it is asked once both variants were measured."""
    crosses: ClassVar[bool]
    """A request that is predicted to miss where it was sent may go to the other variant, as onPredictedMiss says."""
    sees_load: ClassVar[bool]
    """It reads `load_us` and `flows`; for the others they are left out."""

    def choose(self, arrival: Arrival) -> Variant:
        """Where the request goes: never the CPU where there is no CPU variant. It goes there, so ask once."""
