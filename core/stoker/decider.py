"""What a shell asks the core for, by one object: so that an event log can listen in, and nothing is asked twice.

This one passes each question on to the pure functions and policies; stoker.replay.recorder is one that also writes
down question and answer. Whoever composes a process hands it to its gateway, its agent and its reconciler.
"""

from msgspec import Struct

from stoker import admission
from stoker.admission import PRIMARY, Choice, Course, Crowd, Forecasts
from stoker.control.plan import plan
from stoker.control.planning import Observed, Plan, PlanParams
from stoker.device_chooser import DeviceChooser
from stoker.hold_shares import HoldShares
from stoker.model.function import Function
from stoker.model.request import QueuedRequest
from stoker.policies.device_choice import interface as device_choice
from stoker.policies.queueing.interface import DEFAULTS, QueueParams, QueuePolicy
from stoker.policies.queueing.registry import exchange, make_queueing
from stoker.prediction import Predictions
from stoker.slots.forecast import Sight
from stoker.slots.places import Places
from stoker.slots.verdict import Verdict, judge


class Arrival(Struct, frozen=True, kw_only=True):
    """A valid request that comes to a gateway."""

    id: str
    now_us: int
    latency_us: int
    """The objective of its class."""
    timeout_us: int
    """Time until its hard cut."""
    body_bytes: int
    wakes: bool


class Decider:
    """See the module. Makes what has state once for whoever asks; all else is asked again for each decision."""

    # The gateway.

    def queue_full(self, function: Function, arrival: Arrival, crowd: Crowd) -> bool:
        """stoker.admission.queue_full: whether the request stays outside."""
        return admission.queue_full(function.spec.queue, crowd, arrival.body_bytes)

    def make_device_chooser(
        self, name: str, params: device_choice.ChoiceParams = device_choice.DEFAULTS
    ) -> DeviceChooser:
        """The device choice of a gateway. Raises UnknownName."""
        return DeviceChooser(name, params)

    def choose(
        self, function: Function, forecasts: Forecasts, remaining_us: int, *, wakes: bool, course: Course = PRIMARY
    ) -> tuple[Choice, int]:
        """stoker.admission.choose."""
        return admission.choose(function, forecasts, remaining_us, wakes=wakes, course=course)

    def after_miss(
        self,
        function: Function,
        forecasts: Forecasts,
        remaining_us: int,
        step: int,
        *,
        wakes: bool,
        course: Course = PRIMARY,
    ) -> tuple[Choice, int]:
        """stoker.admission.after_miss."""
        return admission.after_miss(function, forecasts, remaining_us, step, wakes=wakes, course=course)

    def make_shares(self, max_requests: int, max_bytes: int, of: str = "") -> HoldShares:  # noqa: ARG002  for the log
        """The shares of a gateway's hold, or `of` something else that namespaces fill."""
        return HoldShares(max_requests, max_bytes)

    # The agent.

    def make_queueing(self, name: str, params: QueueParams = DEFAULTS) -> QueuePolicy:
        """A fresh policy. Raises UnknownName."""
        return make_queueing(name, params)

    def exchange(self, old: QueuePolicy, name: str, params: QueueParams = DEFAULTS) -> QueuePolicy:
        """The policy that takes over what `old`, made here, holds. Raises UnknownName, and leaves `old` as it is."""
        return exchange(old, name, params)

    def make_predictions(self) -> Predictions:
        """Predictions that know nothing yet."""
        return Predictions()

    def make_places(self, name: str = "") -> Places:
        """No places given yet; `name` begins the id of each."""
        return Places(name)

    def judge(
        self,
        function: Function,  # noqa: ARG002  for who writes it down
        request: QueuedRequest,
        sight: Sight | None,
        *,
        product: str | None,  # noqa: ARG002  as above
        in_flight: int,  # noqa: ARG002  as above
        policy: QueuePolicy,
        accepting: bool,
    ) -> Verdict:
        """stoker.slots.verdict.judge. `product` and `in_flight` are those that its execution time was predicted for."""
        return judge(request, sight, policy=policy, accepting=accepting)

    # The reconciler.

    def plan(self, observed: Observed, now_us: int, params: PlanParams) -> Plan:
        """stoker.control.plan.plan, with statuses."""
        return plan(observed, now_us, params)
