"""What is kept of a measurement: the replays, what the simulator said of each case, and what both were told."""

from msgspec import Struct

from bench.reality.calibration import Calibration
from bench.reality.figures import Figures


class Replay(Struct, frozen=True, kw_only=True):
    """One live run."""

    kind: str
    load: float
    policy: str
    number: int
    figures: Figures
    took_us: list[int | None]
    """Of each request's slot, in the order of the trace."""
    client_late_us: int
    """How late the client sent, at its 99th percentile."""


class Case(Struct, frozen=True, kw_only=True):
    """All of one kind, load and policy."""

    kind: str
    load: float
    policy: str
    requests: int
    live: list[Figures]
    simulated: list[Figures]
    """With execution times of the calibration, drawn by several seeds."""
    own: list[Figures]
    """With the execution times that each live replay had itself: what is off there is not the input's fault."""
    stretched: list[Figures]
    """As `simulated`, with all execution times a hundredth longer: how much hangs on them."""
    longer: float
    """Execution times of the replays over those that the calibration expects of the same requests, less one."""


class Machine(Struct, frozen=True, kw_only=True):
    cores: int
    python: str
    real_time: bool
    """Platform and client had the scheduler's real-time class."""


class Report(Struct, frozen=True, kw_only=True):
    machine: Machine
    seconds: float
    replays: int
    together: int
    """Replays of sleeping functions at a time."""
    calibrations: list[Calibration]
    cases: list[Case]
