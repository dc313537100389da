"""The money of one `stoker serve`: prices from the GpuPolicy, the last hour of all accounts, and their lines on disk.

Told of functions, policy and devices; asked by the reconciler before each plan, by /v1/state and by /v1/cost. What is
charged is the agent's to say (stoker_node.metering), what bounds permit is plan()'s.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from stoker.control.capacity import needs_of
from stoker.cost.costs import Costs
from stoker.cost.prices import MICRO, Prices, micro, prices_of, unpriced
from stoker.cost.spending import Spending
from stoker.model.device import Device
from stoker.model.function import Function
from stoker.model.policy import Policy, default_policy
from stoker.prediction import Predictions
from stoker_cli.console import listed
from stoker_cli.costs.cost_lines import Amounts, CostLine, CostLines, difference, read_lines
from stoker_cli.costs.cost_view import CostState, CostView, PriceView
from stoker_node.metering import Metering, by_function
from stoker_runtime.background import Background

log = structlog.get_logger(__name__)

FLUSH_S = 10.0
"""Between two lines: a kill loses at most what was charged in so much time."""
_HOUR_S = 3600


class CostBook:
    """`start()` once the port is known, `stop()` at the end; all else at any time."""

    def __init__(
        self,
        metering: Metering,
        devices: Callable[[], Sequence[Device]],
        predictions: Predictions,
        clock_us: Callable[[], int],
        *,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._metering = metering
        self._devices = devices
        self._predictions = predictions
        self._clock_us = clock_us
        self._wall_s = wall_s
        self._functions: Mapping[str, Function] = {}
        self._policy = default_policy()
        self._spending = Spending()
        self._prices: Prices = {}
        self._lines: CostLines | None = None
        self._told: dict[str, Amounts] = {}
        self._told_free = 0
        self._failing = False
        self._anew = False
        self._task = Background("cost-lines")
        self._began = wall_s()

    def set_policy(self, policy: Policy) -> None:
        """Its prices and the bounds of namespaces act from now on."""
        self._policy = policy
        self._prices = prices_of(self._devices(), policy.prices)
        self._metering.set_prices(self._prices)
        self._bind()

    def set_functions(self, functions: Mapping[str, Function]) -> None:
        """These are the functions, with their bounds."""
        self._functions = functions
        self._bind()

    def costs(self) -> Costs:
        """What plan() is shown now."""
        if not self._prices:
            return Costs()
        now_us = self._clock_us()
        if self._spending.is_bounded:
            self._spending.see(self._metering.accounts(), now_us)
        return self._spending.costs(self._devices(), self._prices, self._predictions, now_us)

    def states(self) -> dict[str, CostState]:
        """What each function spent in the last hour; empty while nothing has a price."""
        if not self._prices:
            return {}
        now_us = self._clock_us()
        self._spending.see(self._metering.accounts(), now_us)
        return {key: self._state(function, now_us) for key, function in self._functions.items()}

    def warnings_of(self, function: Function) -> tuple[str, ...]:
        """Where a function's bounds do not act, one sentence each: what has no price is free, and never silently so."""
        bounds = function.spec.slo.cost
        if bounds.per_hour is None and bounds.per_thousand_requests is None:
            return ()
        if not self._prices:
            return ("its bounds on cost do not act: no device here has a price (GpuPolicy spec.prices).",)
        needs = [need for variant in function.variants for need in needs_of(function, variant)]
        usable = [device for device in self._devices() if any(need.could_use(device) for need in needs)]
        free = unpriced(usable, self._prices)
        if not free:
            return ()
        return (f"{listed(free)} has no price (GpuPolicy spec.prices): what runs there costs it nothing.",)

    def view(self) -> CostView:
        """What /v1/cost shows; the lines are up to date then."""
        self.flush()
        devices = self._devices()
        return CostView(
            file=None if self._lines is None else str(self._lines.path),
            began=self._began,
            now=self._wall_s(),
            prices=[
                PriceView(device=device.label, per_hour=self._prices.get(device.id, 0) / MICRO) for device in devices
            ],
            unpriced=list(unpriced(devices, self._prices)),
            accounts=dict(self._told),
            unallocated=self._told_free,
        )

    # Life.

    async def start(self, path: Path | None, *, anew: bool) -> None:
        """Remember the last hour of the file, and go on with it. `anew`: whatever is in it is another instance's."""
        self._anew = anew
        if path is not None:
            lines = CostLines(path)
            try:
                if anew:
                    await asyncio.to_thread(lines.remove)
                else:
                    await asyncio.to_thread(self._remember, path)
                self._lines = lines
            except OSError as err:
                log.warning("cost_lines_not_read", file=str(path), error=err.strerror or str(err))
        self._task.start(self._run)

    async def stop(self) -> None:
        """Write the last line; nobody will ask for a file that was begun anew."""
        await self._task.stop()
        self.flush()
        if self._anew and self._lines is not None:
            try:
                self._lines.remove()
            except OSError as err:
                log.warning("cost_lines_not_removed", file=str(self._lines.path), error=err.strerror or str(err))

    def flush(self) -> None:
        """Write down what was charged since the last line. What cannot be written is part of the next one."""
        totals = {
            key: (one.starting, one.idle, one.busy, one.runs)
            for key, one in by_function(self._metering.accounts()).items()
        }
        free = self._metering.unallocated()
        gained = difference(totals, self._told)
        if not gained and free == self._told_free:
            return
        if self._lines is not None:
            line = CostLine(at=round(self._wall_s(), 3), accounts=gained, unallocated=free - self._told_free)
            try:
                self._lines.append(line)
            except OSError as err:
                if not self._failing:
                    log.warning("cost_lines_not_written", file=str(self._lines.path), error=err.strerror or str(err))
                self._failing = True
                return
            self._failing = False
        self._told, self._told_free = totals, free
        for key in [key for key in totals if key not in self._functions and key not in gained]:
            # Deleted, and charged nothing any more. What it cost stays in the lines.
            self._metering.forget(key)

    # Inside.

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self.flush()

    def _state(self, function: Function, now_us: int) -> CostState:
        spent, runs = self._spending.last_hour(function.key, now_us)
        hour, thousand = function.spec.slo.cost.per_hour, function.spec.slo.cost.per_thousand_requests
        return CostState(
            last_hour_micro=spent,
            requests=runs,
            max_per_hour_micro=None if hour is None else micro(hour),
            max_per_thousand_requests_micro=None if thousand is None else micro(thousand),
        )

    def _bind(self) -> None:
        namespaces = {function.namespace for function in self._functions.values()}
        self._spending.bound_by(self._functions.values(), self._policy.max_costs_per_hour(namespaces))

    def _remember(self, path: Path) -> None:
        """Runs in a thread, before anything is asked."""
        now_s, now_us = self._wall_s(), self._clock_us()
        for line in read_lines(path, now_s - _HOUR_S):
            age_us = max(0, round((now_s - line.at) * 1_000_000))
            for key, (starting, idle, busy, runs) in line.accounts.items():
                self._spending.remember(key, starting + idle + busy, runs, now_us - age_us)
