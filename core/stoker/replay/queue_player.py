"""The agent's side of a log, asked again: the queueing policy, the predictions and the agent's admission."""

from collections.abc import Callable, Mapping
from typing import Any

from stoker.model.function import Function
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy, SlotView, Weights
from stoker.policies.queueing.registry import exchange, make_queueing
from stoker.prediction import Predictions
from stoker.replay.comparison import Comparison, Unknown
from stoker.replay.picture import restored
from stoker.replay.recorded_queue import scheduled
from stoker.replay.records import (
    Ahead,
    Arranged,
    Cancelled,
    Done,
    Due,
    Exchanged,
    Expired,
    Exported,
    Finished,
    Forgot,
    Judged,
    Missed,
    Popped,
    Pushed,
    Queueing,
    Ran,
    Remembered,
    Reset,
    Scheduled,
    Started,
    Weighted,
)
from stoker.slots.verdict import bind, judge

_NONE: frozenset[str] = frozenset()


class QueuePlayer:
    """Fresh objects of the core, fed with what the log says that the live ones were."""

    def __init__(self, comparison: Comparison, functions: Mapping[int, Function]) -> None:
        """`functions` by number, filled as the log is read."""
        self.predictions = Predictions()
        self._comparison = comparison
        self._functions = functions
        self._made: QueuePolicy | None = None
        self._running: dict[int, QueuedRequest] = {}
        self._pops = 0
        self._eligible: dict[str, frozenset[str]] = {}
        self._judged: QueuedRequest | None = None
        self.plays: dict[type, Callable[[Any], None]] = {
            Queueing: self._begin,
            Exchanged: self._exchange,
            Weighted: lambda record: self._policy.set_weights(Weights(record.flows, record.namespaces)),
            Arranged: lambda record: self._policy.arrange(record.lanes),
            Pushed: self._push,
            Popped: self._pop,
            Done: self._done,
            Cancelled: self._cancel,
            Missed: lambda record: self._policy.missed(record.request),
            Expired: self._expire,
            Exported: self._export,
            Due: self._due,
            Ahead: self._ahead,
            Scheduled: self._schedule,
            Remembered: self._remember,
            Ran: lambda record: self.predictions.observe_exec(
                record.function, record.variant, record.product, record.us, record.in_flight
            ),
            Finished: self._finish,
            Started: lambda record: self.predictions.observe_start(record.function, record.variant, record.us),
            Reset: lambda record: self.predictions.reset(record.function),
            Forgot: lambda record: self.predictions.forget(record.function),
            Judged: self._judge,
        }
        """What is done with each kind of record."""

    @property
    def _policy(self) -> QueuePolicy:
        if self._made is None:
            raise Unknown("no policy was named before it was asked")
        return self._made

    def _begin(self, record: Queueing) -> None:
        fresh = record.state is None
        self._made = make_queueing(record.name, record.params) if fresh else restored(record.state or [])
        self._running = dict(record.running)
        self._pops = max(self._running, default=0)

    def _exchange(self, record: Exchanged) -> None:
        self._made = exchange(self._policy, record.name, record.params)
        self._comparison.same("exchange", record.queued, self._made.queued())

    def _push(self, record: Pushed) -> None:
        request = record.request
        if request is None:
            request = self._judged
            if request is None:
                raise Unknown(f"request {record.id} was not judged before it was pushed")
            request.id = record.id
        self._judged = None
        self._policy.push(request)

    def _pop(self, record: Popped) -> None:
        eligible = self._eligible.get(record.device, _NONE)
        if record.more or record.fewer:
            eligible = self._eligible[record.device] = (eligible | set(record.more)) - set(record.fewer)
        warm = None if record.warm is None else frozenset(record.warm)
        got = self._policy.pop(SlotView(record.device, eligible, warm), record.now_us)
        self._comparison.same("pop", record.got, None if got is None else got.id)
        if got is not None:
            self._pops += 1
            self._running[self._pops] = got

    def _done(self, record: Done) -> None:
        request = self._running.pop(record.pop, None) or record.request
        if request is None:
            raise Unknown(f"no request was popped as number {record.pop}, or it has ended already")
        self._policy.done(request, record.actual_us)

    def _cancel(self, record: Cancelled) -> None:
        self._comparison.same("cancel", record.found, self._policy.cancel(record.id) is not None)

    def _expire(self, record: Expired) -> None:
        expired = [request.id for request in self._policy.drop_expired(record.now_us)]
        self._comparison.same("expire", record.ids, expired)

    def _export(self, record: Exported) -> None:
        self._comparison.same("export", record.ids, [request.id for request in self._policy.export()])

    def _due(self, record: Due) -> None:
        self._comparison.same("due", record.due_us, self._policy.next_ready_us(record.now_us))

    def _ahead(self, record: Ahead) -> None:
        work_us = self._policy.work_ahead_us(record.request, frozenset(record.flows))
        self._comparison.same("ahead", record.work_us, work_us)

    def _schedule(self, record: Scheduled) -> None:
        self._comparison.same("schedule", record, scheduled(self._policy, record.now_us))

    def _remember(self, record: Remembered) -> None:
        predictions = restored(record.state)
        if not isinstance(predictions, Predictions):
            raise Unknown("its predictions are none")
        self.predictions = predictions

    def _finish(self, record: Finished) -> None:
        self.predictions.observe_finish(record.function, record.percentile, record.predicted_us, record.actual_us)

    def _judge(self, record: Judged) -> None:
        function, request = self._functions.get(record.function), record.request
        if function is None:
            raise Unknown(f"no function has the number {record.function}")
        estimate = self.predictions.exec_us(function, request.variant, record.product, record.in_flight)
        self._comparison.same("estimate", request.predicted_exec_us, estimate.us)
        if record.sight is not None:
            margin_ppm = max(0, self.predictions.margin_ppm(function.key, request.percentile))
            self._comparison.same("margin", record.sight.margin_ppm, margin_ppm)
        verdict = judge(request, record.sight, policy=self._policy, accepting=record.accepting)
        self._comparison.same("judge", record.verdict, verdict)
        bind(request, verdict)
        self._judged = request
