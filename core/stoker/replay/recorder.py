"""A Decider that writes an event log: each question to the core, with all that the answer depends on, and the answer.

The objects that it makes record themselves. Where nothing can be written any more it is a plain Decider.
"""

from collections.abc import Callable

from stoker import admission
from stoker.admission import PRIMARY, Choice, Course, Crowd, Forecasts
from stoker.control.planning import Observed, Plan, PlanParams
from stoker.decider import Arrival, Decider
from stoker.decisions import RequestRecord
from stoker.hold_shares import HoldShares
from stoker.model.function import Function
from stoker.model.request import QueuedRequest
from stoker.policies.device_choice import interface as device_choice
from stoker.policies.queueing.interface import DEFAULTS, QueueParams, QueuePolicy
from stoker.policies.queueing.registry import make_queueing
from stoker.prediction import Predictions
from stoker.replay.journal import Journal
from stoker.replay.recorded_chooser import RecordedChooser
from stoker.replay.recorded_facts import RecordedPredictions, RecordedShares
from stoker.replay.recorded_places import RecordedPlaces
from stoker.replay.recorded_queue import RecordedQueue
from stoker.replay.recorded_rounds import RecordedRounds
from stoker.replay.records import Arrived, Chosen, Ended, Judged
from stoker.slots.forecast import Sight
from stoker.slots.places import Places
from stoker.slots.verdict import Verdict, judge


class Recorder(Decider):
    """See the module. One gateway, one agent and one reconciler ask it, from one thread."""

    def __init__(self, journal: Journal, clock_us: Callable[[], int]) -> None:
        self._journal = journal
        self._clock_us = clock_us
        self._rounds = RecordedRounds()
        journal.join(self._rounds)

    def queue_full(self, function: Function, arrival: Arrival, crowd: Crowd) -> bool:
        full = super().queue_full(function, arrival, crowd)
        if self._journal.open:
            self._journal.write(
                Arrived(
                    arrival.id,
                    arrival.now_us,
                    self._journal.ref(function),
                    arrival.latency_us,
                    arrival.timeout_us,
                    arrival.body_bytes,
                    crowd,
                    arrival.wakes,
                    full,
                )
            )
        return full

    def make_device_chooser(
        self, name: str, params: device_choice.ChoiceParams = device_choice.DEFAULTS
    ) -> RecordedChooser:
        chooser = RecordedChooser(name, params, self._journal)
        self._journal.join(chooser)
        return chooser

    def choose(
        self, function: Function, forecasts: Forecasts, remaining_us: int, *, wakes: bool, course: Course = PRIMARY
    ) -> tuple[Choice, int]:
        choice, step = admission.choose(function, forecasts, remaining_us, wakes=wakes, course=course)
        if self._journal.open:
            ref = self._journal.ref(function)
            self._journal.write(Chosen(ref, dict(forecasts), remaining_us, choice, step, wakes=wakes, course=course))
        return choice, step

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
        choice, following = admission.after_miss(function, forecasts, remaining_us, step, wakes=wakes, course=course)
        if self._journal.open:
            ref = self._journal.ref(function)
            self._journal.write(Chosen(ref, dict(forecasts), remaining_us, choice, following, step, wakes, course))
        return choice, following

    def make_shares(self, max_requests: int, max_bytes: int, of: str = "") -> HoldShares:
        shares = RecordedShares(max_requests, max_bytes, of, self._journal)
        self._journal.join(shares)
        return shares

    def make_queueing(self, name: str, params: QueueParams = DEFAULTS) -> QueuePolicy:
        queue = RecordedQueue(make_queueing(name, params), params, self._journal)
        self._journal.join(queue)
        return queue

    def exchange(self, old: QueuePolicy, name: str, params: QueueParams = DEFAULTS) -> QueuePolicy:
        assert isinstance(old, RecordedQueue), "it was made here"
        old.exchange(name, params)
        return old

    def make_predictions(self) -> Predictions:
        predictions = RecordedPredictions(self._journal)
        self._journal.join(predictions)
        return predictions

    def make_places(self, name: str = "") -> Places:
        places = RecordedPlaces(name, self._journal)
        self._journal.join(places)
        return places

    def judge(
        self,
        function: Function,
        request: QueuedRequest,
        sight: Sight | None,
        *,
        product: str | None,
        in_flight: int,
        policy: QueuePolicy,
        accepting: bool,
    ) -> Verdict:
        assert isinstance(policy, RecordedQueue), "it was made here"
        verdict = judge(request, sight, policy=policy.inner, accepting=accepting)
        if self._journal.open:
            ref = self._journal.ref(function)
            # Before the record, behind which a new file may begin.
            policy.judged(request)
            self._journal.write(Judged(ref, request, product, in_flight, sight, accepting, verdict))
        return verdict

    def plan(self, observed: Observed, now_us: int, params: PlanParams) -> Plan:
        result = super().plan(observed, now_us, params)
        if self._journal.open:
            try:
                self._rounds.write(self._journal, observed, now_us, params, result)
            except Exception as error:  # noqa: BLE001  a defect here must not stop the plans
                self._journal.give_up(f"a plan cannot be written down ({error})")
        return result

    def ended(self, record: RequestRecord) -> None:
        """A request ended. Those that were never let in are left out: nobody decided anything about them."""
        if self._journal.open and record.outcome is not None and record.function:
            self._journal.write(
                Ended(
                    id=record.id,
                    now_us=self._clock_us(),
                    function=record.function,
                    total_us=record.total_us or 0,
                    outcome=record.outcome,
                    reason=record.reason,
                    variant=record.variant,
                    cold=record.cold,
                    diverted=record.diverted,
                    queue_us=record.queue_us,
                    start_us=record.start_us,
                    exec_us=record.exec_us,
                    on_time=record.on_time,
                )
            )

    def close(self) -> None:
        """The process ends in order."""
        self._journal.close()
