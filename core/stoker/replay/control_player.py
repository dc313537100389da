"""The gateway's and the reconciler's side of a log, asked again: bounds, choices, shares of the hold, and plans."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from stoker.admission import after_miss, choose, queue_full
from stoker.agents_choice import GpuCrowd
from stoker.control import measured
from stoker.control.plan import plan
from stoker.control.planning import Observed, PlanMemory, PlanParams
from stoker.device_chooser import NOBODY, DeviceChooser
from stoker.hold_shares import HoldShares
from stoker.model.function import Function
from stoker.prediction import Predictions
from stoker.replay.comparison import Comparison, Unknown
from stoker.replay.gateway_records import Choosing, Coursed, Crowded, Held, Room, Shares
from stoker.replay.picture import restored
from stoker.replay.recorded_rounds import digest, observed_again
from stoker.replay.records import Arrived, Chosen, Memory, Planned


class ControlPlayer:
    """See the module. The memory of plans is chained: each plan gets what the one before it left here."""

    def __init__(
        self,
        comparison: Comparison,
        functions: Mapping[int, Function],
        predictions: Callable[[], Predictions],
    ) -> None:
        """`functions` by number; `predictions` as they are replayed."""
        self._comparison = comparison
        self._functions = functions
        self._predictions = predictions
        self._chooser: DeviceChooser | None = None
        self._crowd: GpuCrowd = NOBODY
        self._shares: dict[str, HoldShares] = {}
        self._fields: dict[str, Any] = {}
        self._memory: PlanMemory | None = None
        self._params: PlanParams | None = None
        self.plays: dict[type, Callable[[Any], None]] = {
            Arrived: self._arrive,
            Chosen: self._choose,
            Choosing: self._begin_choosing,
            Crowded: self._fill,
            Coursed: self._send,
            Shares: self._share,
            Room: self._room,
            Held: self._hold,
            Memory: self._remember,
            Planned: self._plan,
        }
        """What is done with each kind of record."""

    def _function(self, ref: int) -> Function:
        function = self._functions.get(ref)
        if function is None:
            raise Unknown(f"no function has the number {ref}")
        return function

    def _arrive(self, record: Arrived) -> None:
        bounds = self._function(record.function).spec.queue
        self._comparison.same("arrive", record.full, queue_full(bounds, record.crowd, record.body_bytes))

    def _choose(self, record: Chosen) -> None:
        function, left_us, wakes = self._function(record.function), record.remaining_us, record.wakes
        if record.step is None:
            found = choose(function, record.forecasts, left_us, wakes=wakes, course=record.course)
        else:
            found = after_miss(function, record.forecasts, left_us, record.step, wakes=wakes, course=record.course)
        self._comparison.same("choose", (record.choice, record.next_step), found)

    def _begin_choosing(self, record: Choosing) -> None:
        chooser = restored(record.state)
        if not isinstance(chooser, DeviceChooser):
            raise Unknown("its device choice is none")
        self._chooser, self._crowd = chooser, NOBODY

    def _fill(self, record: Crowded) -> None:
        self._crowd = record.crowd

    def _send(self, record: Coursed) -> None:
        if self._chooser is None:
            raise Unknown("the device choice was not told before it was asked")
        function = self._function(record.function)
        course = self._chooser.course(
            function, record.forecasts, record.remaining_us, wakes=record.wakes, crowd=self._crowd
        )
        self._comparison.same("course", record.course, course)

    def _share(self, record: Shares) -> None:
        shares = restored(record.state)
        if not isinstance(shares, HoldShares):
            raise Unknown("its shares of the hold are none")
        self._shares[record.of] = shares

    def _shares_of(self, of: str) -> HoldShares:
        shares = self._shares.get(of)
        if shares is None:
            raise Unknown("the bounds of the hold were not told before it was asked")
        return shares

    def _room(self, record: Room) -> None:
        self._comparison.same("room", record.full, self._shares_of(record.of).full(record.namespace, record.body_bytes))

    def _hold(self, record: Held) -> None:
        self._shares_of(record.of).add(record.namespace, record.requests, record.body_bytes)

    def _remember(self, record: Memory) -> None:
        self._memory = record.memory

    def _plan(self, record: Planned) -> None:
        try:
            self._fields = observed_again(record.observed, self._fields, self._function)
            observed = Observed(**self._fields, memory=self._memory or PlanMemory())
        except (msgspec.MsgspecError, TypeError, KeyError) as error:
            raise Unknown(f"what the plan observed cannot be read ({error})") from error
        self._params = record.params or self._params
        if self._params is None or self._memory is None:
            raise Unknown("the first plan of a file needs its params and its memory")
        predictions = self._predictions()
        for key, by_variant in observed.start_us.items():
            for variant, start_us in by_variant.items():
                estimate = predictions.start_us(observed.functions[key], variant)
                self._comparison.same("estimate", start_us, estimate.us)
        execs_us = measured.exec_us(predictions, observed.functions, observed.replicas)
        self._comparison.same("estimate", observed.exec_us, execs_us)
        service = measured.service(predictions, observed.functions, observed.replicas, observed.demand)
        self._comparison.same("estimate", observed.service, service)
        result = plan(observed, record.now_us, self._params)
        self._memory = result.memory
        self._comparison.same(
            "plan",
            (record.actions, record.next_due_us, record.statuses, record.memory),
            (result.actions, result.next_due_us, digest(result.statuses), digest(result.memory)),
        )
