"""The records of the event log, one on each line: what the core was asked, and what it answered.

Each file begins with a Header and with all that the later records refer to, so it replays alone. A record is never
changed in meaning: what is new gets a new record or a new VERSION. Times are microseconds on the clock of the process
that was recorded, integers throughout. No path, header or body of a request is in the log.
"""

from typing import Any

from msgspec import Raw, Struct

from stoker.admission import PRIMARY, Choice, Course, Crowd, Forecast
from stoker.control.planning import Action, PlanMemory, PlanParams
from stoker.model.device import Device
from stoker.model.function import Function, Variant
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueueParams
from stoker.policies.queueing.lanes import Lane
from stoker.reasons import Outcome, Reason
from stoker.replay.gateway_records import FIELD as _FIELD
from stoker.replay.gateway_records import Choosing, Coursed, Crowded, Held, Room, Shares
from stoker.replay.picture import Picture
from stoker.slots.forecast import Sight
from stoker.slots.places import Place, Redemption
from stoker.slots.verdict import Verdict

FORMAT = "stoker-event-log"
VERSION = 2


class Header(Struct, frozen=True, kw_only=True, tag="log", tag_field=_FIELD):
    """The first line of a file."""

    format: str = FORMAT
    version: int = VERSION
    stoker: str
    """Version of the program that wrote it."""
    part: int
    """Which file of the log it is, from 0."""
    now_us: int
    wall_us: int
    """Microseconds since the epoch at `now_us`."""
    devices: tuple[Device, ...]


class Seen(Struct, frozen=True, tag="function", tag_field=_FIELD):
    """A function as applied, by the number that later records know it by. A new generation gets a new number."""

    ref: int
    function: Function


class Closed(Struct, frozen=True, tag="closed", tag_field=_FIELD):
    """The log ends here. `why` is empty where the process ended in order."""

    why: str = ""


# The queueing policy of the agent (stoker.policies.queueing.interface).


class Queueing(Struct, frozen=True, tag="queueing", tag_field=_FIELD, omit_defaults=True):
    """A policy begins to be asked: a fresh one, or one that goes on from the file before."""

    name: str
    params: QueueParams
    state: Picture | None = None
    """None: a fresh one."""
    running: list[tuple[int, QueuedRequest]] = []
    """What it has popped that has not ended, by the number of the pop."""


class Exchanged(Struct, frozen=True, tag="exchange", tag_field=_FIELD):
    """A fresh policy takes over what is queued."""

    name: str
    params: QueueParams
    queued: int


class Weighted(Struct, frozen=True, tag="weights", tag_field=_FIELD):
    flows: dict[str, int]
    namespaces: dict[str, int]


class Arranged(Struct, frozen=True, tag="arrange", tag_field=_FIELD):
    """The slots of each flow from now on."""

    lanes: dict[str, Lane]


class Pushed(Struct, frozen=True, tag="push", tag_field=_FIELD, omit_defaults=True):
    id: str
    request: QueuedRequest | None = None
    """None: the one that was judged last, which may have got another id since."""


class Popped(Struct, frozen=True, tag="pop", tag_field=_FIELD, omit_defaults=True):
    """A free slot was offered. Pops that gave a request are numbered: from 1, or on from the largest in Queueing."""

    now_us: int
    device: str
    got: str | None
    more: list[str] = []
    fewer: list[str] = []
    """Eligible flows that were not so at the last pop for the device, and the other way round."""
    warm: list[str] | None = None
    """None: all of them."""


class Done(Struct, frozen=True, tag="done", tag_field=_FIELD, omit_defaults=True):
    pop: int
    actual_us: int
    request: QueuedRequest | None = None
    """With `pop` 0: one that the log does not know."""


class Cancelled(Struct, frozen=True, tag="cancel", tag_field=_FIELD):
    id: str
    found: bool


class Missed(Struct, frozen=True, tag="missed", tag_field=_FIELD):
    request: QueuedRequest


class Expired(Struct, frozen=True, tag="expire", tag_field=_FIELD):
    now_us: int
    ids: list[str]


class Exported(Struct, frozen=True, tag="export", tag_field=_FIELD):
    ids: list[str]


class Due(Struct, frozen=True, tag="due", tag_field=_FIELD):
    """When the policy may give what it holds back."""

    now_us: int
    due_us: int | None


class Ahead(Struct, frozen=True, tag="ahead", tag_field=_FIELD):
    """Predicted work before a request, for the load that the agent tells."""

    request: QueuedRequest
    flows: list[str]
    work_us: int


class Scheduled(Struct, frozen=True, tag="schedule", tag_field=_FIELD):
    """The order of all that is queued, as a digest."""

    now_us: int
    queued: int
    digest: str


# What is measured, and what is made of it (stoker.prediction).


class Remembered(Struct, frozen=True, tag="predictions", tag_field=_FIELD):
    """What the predictions know at the begin of a file."""

    state: Picture


class Ran(Struct, frozen=True, tag="ran", tag_field=_FIELD):
    function: str
    variant: Variant
    product: str
    us: int
    in_flight: int = 1


class Finished(Struct, frozen=True, tag="finished", tag_field=_FIELD):
    """A request ended so long after it was queued, and was expected to."""

    function: str
    percentile: float
    predicted_us: int
    actual_us: int


class Started(Struct, frozen=True, tag="started", tag_field=_FIELD):
    """A replica became warm, so long after its start."""

    function: str
    variant: Variant
    us: int


class Reset(Struct, frozen=True, tag="reset", tag_field=_FIELD):
    function: str


class Forgot(Struct, frozen=True, tag="forget", tag_field=_FIELD):
    function: str


class Judged(Struct, frozen=True, tag="judge", tag_field=_FIELD, omit_defaults=True):
    """The agent's admission (stoker.slots.verdict)."""

    function: int
    request: QueuedRequest
    product: str | None = None
    in_flight: int = 1
    """Those that its execution time was predicted for."""
    sight: Sight | None = None
    accepting: bool = True
    verdict: Verdict = Verdict()


# Places for requests that were refused (stoker.slots.places).


class Reserved(Struct, frozen=True, tag="places", tag_field=_FIELD):
    """The places that the agent has given at the begin of a file."""

    state: Picture


class Offered(Struct, frozen=True, tag="offer", tag_field=_FIELD, omit_defaults=True):
    flow: str
    beside: list[str]
    exec_us: int
    servers: int
    earliest_us: int
    now_us: int
    objective_us: int
    apart_us: int = 0
    level: int = 0
    place: Place | None = None


class Redeemed(Struct, frozen=True, tag="redeem", tag_field=_FIELD):
    id: str
    flow: str
    now_us: int
    came_of_it: Redemption


class GivenBack(Struct, frozen=True, tag="give-back", tag_field=_FIELD):
    id: str


class CalledBack(Struct, frozen=True, tag="call-back", tag_field=_FIELD):
    """When somebody who got no place was told to come back."""

    flow: str
    step_us: int
    earliest_us: int
    now_us: int
    objective_us: int
    at_us: int


# The gateway (stoker.admission; more in stoker.replay.gateway_records).


class Arrived(Struct, frozen=True, tag="arrive", tag_field=_FIELD, omit_defaults=True):
    """A valid request came, and was let in unless its function's queue was full."""

    id: str
    now_us: int
    function: int
    latency_us: int
    """Its objective, of its class."""
    timeout_us: int
    body_bytes: int
    crowd: Crowd
    wakes: bool = True
    full: bool = False


class Chosen(Struct, frozen=True, tag="choose", tag_field=_FIELD, omit_defaults=True):
    function: int
    forecasts: dict[Variant, Forecast]
    remaining_us: int
    choice: Choice
    next_step: int
    step: int | None = None
    """Where after_miss() went on from; None: it was choose()."""
    wakes: bool = True
    course: Course = PRIMARY


# The reconciler (stoker.control.plan).


class Memory(Struct, frozen=True, tag="memory", tag_field=_FIELD):
    """What the next plan remembers, where that is not what the last one left."""

    memory: PlanMemory


class Planned(Struct, frozen=True, tag="plan", tag_field=_FIELD, omit_defaults=True):
    now_us: int
    observed: dict[str, Raw]
    """The fields of Observed that are not as they were at the last plan; functions by number, no memory."""
    next_due_us: int
    statuses: str
    memory: str
    """Digests: the statuses that the plan gave, and what it remembered."""
    actions: tuple[Action, ...] = ()
    params: PlanParams | None = None
    """None: as at the last plan."""


# What became of requests; nothing that is decided.


class Ended(Struct, frozen=True, kw_only=True, tag="end", tag_field=_FIELD, omit_defaults=True):
    """A request ended (stoker.decisions.RequestRecord)."""

    id: str
    now_us: int
    function: str
    total_us: int
    outcome: Outcome
    reason: Reason | None = None
    variant: Variant | None = None
    cold: bool = False
    diverted: bool = False
    queue_us: int | None = None
    start_us: int | None = None
    exec_us: int | None = None
    on_time: bool | None = None


Record = (
    Header
    | Seen
    | Closed
    | Queueing
    | Exchanged
    | Weighted
    | Arranged
    | Pushed
    | Popped
    | Done
    | Cancelled
    | Missed
    | Expired
    | Exported
    | Due
    | Ahead
    | Scheduled
    | Remembered
    | Ran
    | Finished
    | Started
    | Reset
    | Forgot
    | Judged
    | Reserved
    | Offered
    | Redeemed
    | GivenBack
    | CalledBack
    | Arrived
    | Chosen
    | Choosing
    | Crowded
    | Coursed
    | Shares
    | Room
    | Held
    | Memory
    | Planned
    | Ended
)

Observation = dict[str, Any]
"""Fields of Observed by name."""
