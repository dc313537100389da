"""The way in, in simulated time: choice of variant, hold while cold, the agents in order, and the demand it tells.

The walk of a request is the live gateway's (choose, hold, send, choose again) with the same pure decisions; bodies and
connections are left out, so nothing is ever lost on the way.
"""

from collections.abc import Iterable, Mapping, Sequence

from stoker.admission import (
    Choice,
    Forecast,
    Forecasts,
    Hold,
    Refuse,
    Send,
    after_miss,
    choose,
    missed_variants,
    under,
    unless_missed,
)
from stoker.agents_choice import GpuCrowd, Told, cheapest_first, forecast, gpu_crowd, room, soonest_first
from stoker.cost.costs import Bounds
from stoker.device_chooser import NOBODY, DeviceChooser
from stoker.hold_shares import HoldShares
from stoker.model.demand import Demand
from stoker.model.function import Variant
from stoker.reasons import MISSES, Outcome, Reason
from stoker.wire.agent import WANT_PLACE, VariantLoad
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.book import VARIANT_CODE, Book
from stoker_sim.engine.links import Admitting, Link, Poke
from stoker_sim.engine.returns import Returns
from stoker_sim.engine.returns import Told as ToldBack
from stoker_sim.engine.visits import Side, State, Visit
from stoker_sim.workload import Workload

MAX_CANDIDATES = 3
"""As the live gateway: the first agent and up to two more."""
WAKE_MEMORY_US = 600_000_000
"""As the live gateway: how long a wake is told at least."""
_UNLIMITED = 1 << 62


class Gateway:
    """See the module. `poke` is called whenever demand changed."""

    def __init__(
        self,
        workload: Workload,
        unplaceable: Mapping[str, Mapping[Variant, str]],
        *,
        agenda: Agenda,
        book: Book,
        hold_requests: int,
        enforces: bool,
        chooser: DeviceChooser,
        prices: Mapping[str, float],
        poke: Poke,
        returns: Returns | None = None,
    ) -> None:
        """`enforces`: a predicted miss is acted upon. `returns`: clients that come back for places."""
        self._returns = returns
        self._agenda = agenda
        self._book = book
        self._enforces = enforces
        self._chooser = chooser
        self._prices = prices
        self._bounds: Bounds = {}
        self._crowd: GpuCrowd | None = None
        """Until the next frame."""
        self._poke = poke
        self._states = [
            State(function.definition, unplaceable.get(function.key, {})) for function in workload.functions
        ]
        self._sides = {side.key: side for state in self._states for side in state.sides.values()}
        self._links: list[Link] = []
        self._visits: dict[int, Visit] = {}
        self._waiting: dict[Side, None] = {}
        """Those that somebody is held for, in the order in which that began."""
        self._shares = HoldShares(hold_requests, _UNLIMITED)
        self._called: dict[str, State] = {}
        self._cut = agenda.kind(self._on_cut)

    def set_bounds(self, bounds: Bounds) -> None:
        """The variants that requests may not have for what they cost."""
        keys = {*self._bounds, *bounds}
        self._bounds = bounds
        for side in [side for side in self._sides.values() if side.function in keys]:
            side.warm = self._warm(side)
            for visit in tuple(side.held):
                if self._unpaid(visit, side):
                    self._unhold(visit)
                    self._serve(visit, self._walked_on(visit))

    def follow(self, agents: Sequence[Admitting]) -> None:
        """These are the agents."""
        self._links = [Link(agent) for agent in agents]

    def told(self, agent: int, loads: Mapping[str, VariantLoad]) -> None:
        """A frame of an agent, by its number: the flows that changed."""
        link = self._links[agent]
        link.hear(loads, self._agenda.now_us)
        self._crowd = None
        for key in loads:
            self._sides[key].warm = self._warm(self._sides[key])
        self._release()

    def arrive(self, index: int) -> None:
        """A request comes now."""
        book, now_us = self._book, self._agenda.now_us
        state = self._states[book.function[index]]
        spec = state.function.spec
        primary = state.primary
        decides = state.chooses
        if not decides:
            primary.last_wake_us = now_us
        self._called[state.function.key] = state
        if state.undispatched >= spec.queue.max_requests:
            side = state.sides[state.first if decides else primary.variant]
            side.last_wake_us = now_us
            side.arrivals += 1
            book.end(index, Outcome.REFUSED, Reason.QUEUE_FULL, now_us)
            self._poke()
            return
        timeout_us = now_us + spec.timeout_us
        objective_us = min(timeout_us, now_us + book.slo_us[index])
        visit = Visit(index, state, primary, now_us, objective_us, timeout_us)
        state.retry_budget.request(now_us)
        self._visits[index] = visit
        state.undispatched += 1
        primary.in_system += 1
        primary.arrivals += 1
        self._poke(load=bool(primary.warm))
        if self._returns is not None and (told := self._returns.shown.get(index)) and self._redeem(visit, told):
            return
        first = self._course(visit) if decides else primary
        self._serve(visit, Send(first.variant) if first.warm else self._choose_cold(visit, first))

    def dispatched(self, index: int) -> None:
        """A request got its slot."""
        self._leave_queue(self._visits[index])

    def stranded(self, index: int) -> None:
        """Its agent has no live replica for it any more: it waits here again."""
        visit = self._visits[index]
        self._serve(visit, self._waits(visit, visit.side, visit.late_ok))

    def answered(self, index: int) -> None:
        """A request ended."""
        visit = self._visits.pop(index, None)
        if visit is not None:
            self._leave_queue(visit)
            visit.side.in_system -= 1
            self._book.variant[index] = VARIANT_CODE[visit.side.variant]

    def demand(self) -> Demand:
        """Who waits and runs now, and who woke what."""
        found: Demand = {}
        now_us = self._agenda.now_us
        for key, state in tuple(self._called.items()):
            ttl_us = state.function.spec.scaling.keep_alive_ttl_us
            since_us = now_us - max(WAKE_MEMORY_US, ttl_us + WAKE_MEMORY_US // 10)
            wanted = {
                side.variant: side.demand()
                for side in state.sides.values()
                if side.in_system or (side.last_wake_us is not None and side.last_wake_us >= since_us)
            }
            if wanted:
                found[key] = wanted
            else:
                del self._called[key]
        return found

    # The walk of one request.

    def _serve(self, visit: Visit, choice: Choice) -> None:
        while True:
            if isinstance(choice, Hold):
                self._hold(visit, choice)
                return
            if isinstance(choice, Refuse):
                self._book.end(visit.index, Outcome.REFUSED, choice.reason, self._agenda.now_us)
                return
            refused = self._send(visit, choice)
            if refused is None:
                return
            choice = self._after(visit, choice, refused)

    def _course(self, visit: Visit) -> Side:
        """The variant that the device choice sends it to first."""
        state, now_us = visit.state, self._agenda.now_us
        visit.course = self._chooser.course(
            state.function,
            self._forecasts(state),
            visit.objective_us - now_us,
            wakes=True,
            crowd=self._on_gpus() if self._chooser.sees_load else NOBODY,
        )
        state.first = visit.course.variant or state.primary.variant
        side = state.sides[state.first]
        side.last_wake_us = now_us
        if visit.course.wakes_cpu:
            state.sides[Variant.CPU].last_wake_us = now_us
            self._poke()
        return side

    def _on_gpus(self) -> GpuCrowd:
        if self._crowd is None:
            self._crowd = gpu_crowd(
                (state.function.key, link.loads[side.key])
                for state in self._states
                if (side := state.sides.get(Variant.GPU)) is not None
                for link in self._links
                if side.key in link.loads
            )
        return self._crowd

    def _choose_cold(self, visit: Visit, first: Side) -> Choice:
        state, now_us = visit.state, self._agenda.now_us
        cold_us = state.function.spec.slo.cold_latency_us
        if cold_us is None:
            visit.objective_us = visit.timeout_us
        else:
            visit.objective_us = min(visit.timeout_us, visit.arrived_us + cold_us)
        choice, visit.miss_step = choose(
            state.function, self._forecasts(state), visit.objective_us - now_us, wakes=True, course=visit.course
        )
        if not self._enforces:
            choice = unless_missed(choice, Hold(first.variant, late_ok=True))
        self._want(visit, choice, 0)
        return choice

    def _want(self, visit: Visit, choice: Choice, start: int) -> None:
        state = visit.state
        missed = missed_variants(state.function, choice, start, visit.miss_step, visit.course)
        for variant in missed:
            state.sides[variant].last_wake_us = self._agenda.now_us
        if missed:
            self._poke()

    def _hold(self, visit: Visit, choice: Hold) -> None:
        now_us, state = self._agenda.now_us, visit.state
        side = state.sides[choice.variant]
        self._move(visit, side)
        side.last_wake_us = now_us
        namespace = state.function.namespace
        if self._shares.full(namespace, 0):
            self._book.end(visit.index, Outcome.REFUSED, Reason.HOLD_FULL, now_us)
            return
        self._book.cold[visit.index] = True
        self._shares.add(namespace, 1, 0)
        visit.held_since_us, visit.late_ok = now_us, choice.late_ok
        visit.forecast_late |= choice.late_ok
        side.held[visit] = None
        self._waiting[side] = None
        self._agenda.at(visit.timeout_us, self._cut, visit)
        self._poke()

    def _release(self) -> None:
        """Let go whose variant is warm, as many as there is room for, in the order in which they came."""
        for side in tuple(self._waiting):
            if not side.warm:
                continue
            count = room(told for _, told in self._told(side.key))
            for number, visit in enumerate(tuple(side.held)):
                if number == count:
                    break
                self._unhold(visit)
                now_us = self._agenda.now_us
                visit.objective_us = min(visit.timeout_us, now_us + self._book.slo_us[visit.index])
                self._serve(visit, Send(side.variant, late_ok=True))

    def _unhold(self, visit: Visit) -> None:
        side = visit.side
        del side.held[visit]
        if not side.held:
            del self._waiting[side]
        self._shares.add(visit.state.function.namespace, -1, 0)
        self._book.held_us[visit.index] += self._agenda.now_us - visit.held_since_us
        self._poke()

    def _on_cut(self, visit: Visit) -> None:
        if visit in visit.side.held:
            self._unhold(visit)
            self._book.end(visit.index, Outcome.EXPIRED, Reason.TIMEOUT, self._agenda.now_us)

    def _send(self, visit: Visit, choice: Send) -> Reason | None:
        """Try the agents that have the variant warm; why none took it, None where one did."""
        side = visit.state.sides[choice.variant]
        if side is not visit.side:
            self._move(visit, side)
            side.last_wake_us = self._agenda.now_us
        late_ok = choice.late_ok or not self._enforces
        self._book.promised[visit.index] = self._enforces and not choice.late_ok and not visit.forecast_late
        reason = Reason.NO_REPLICA
        candidates = self._candidates(visit, side)[:MAX_CANDIDATES]
        for link in candidates:
            if link is not candidates[0] and not visit.state.retry_budget.take(self._agenda.now_us):
                break
            wants = self._returns is not None and not late_ok and link is candidates[-1] and self._would_refuse(visit)
            refused = self._ask(link, visit, side, late_ok=late_ok, said=WANT_PLACE if wants else "")
            if refused is None:
                return None
            reason = refused
        self._book.promised[visit.index] = False
        return reason

    def _redeem(self, visit: Visit, told: ToldBack) -> bool:
        """Try the agent that gave the place; whether it took the request. Places are given on the primary variant."""
        side = visit.side
        for link in self._links:
            if link.agent.name == told.agent and (load := link.loads.get(side.key)) is not None and load.warm:
                self._book.promised[visit.index] = self._enforces
                return self._ask(link, visit, side, late_ok=not self._enforces, said=told.place) is None
        return False

    def _ask(self, link: Link, visit: Visit, side: Side, *, late_ok: bool, said: str) -> Reason | None:
        link.sent[side.key] = link.sent.get(side.key, 0) + 1
        cold, until_us = bool(self._book.cold[visit.index]), visit.timeout_us
        return link.agent.admit(
            visit.index, side.key, visit.objective_us, until_us, cold=cold, late_ok=late_ok, said=said
        )

    def _would_refuse(self, visit: Visit) -> bool:
        """Whether a miss that an agent predicts now would end in a refusal."""
        state, left_us = visit.state, visit.objective_us - self._agenda.now_us
        following, _ = after_miss(
            state.function, self._forecasts(state), left_us, visit.miss_step, wakes=True, course=visit.course
        )
        return isinstance(following, Refuse) and visit.side is state.primary

    def _candidates(self, visit: Visit, side: Side) -> list[Link]:
        told = self._told(side.key)
        if not self._prices:
            return soonest_first(told)
        return cheapest_first(told, self._prices, visit.objective_us - self._agenda.now_us)

    def _after(self, visit: Visit, choice: Send, refused: Reason) -> Choice:
        if refused not in MISSES:
            return self._waits(visit, visit.state.sides[choice.variant], choice.late_ok)
        following = self._walked_on(visit)
        return following if self._enforces else unless_missed(following, Send(choice.variant, late_ok=True))

    def _waits(self, visit: Visit, side: Side, late_ok: bool) -> Choice:
        """No agent has the replica that it came for: it waits, unless a bound on cost pays for none in its time."""
        return self._walked_on(visit) if self._unpaid(visit, side) else Hold(side.variant, late_ok)

    def _unpaid(self, visit: Visit, side: Side) -> bool:
        if visit.state.function.key not in self._bounds:
            return False
        found = self._forecasts(visit.state).get(side.variant)
        return found is not None and bool(found.denied) and self._agenda.now_us + found.finish_us > visit.timeout_us

    def _walked_on(self, visit: Visit) -> Choice:
        """Where it goes now that it missed."""
        state, step = visit.state, visit.miss_step
        remaining_us = visit.objective_us - self._agenda.now_us
        following, visit.miss_step = after_miss(
            state.function, self._forecasts(state), remaining_us, step, wakes=True, course=visit.course
        )
        self._want(visit, following, step)
        return following

    # Inside.

    def _warm(self, side: Side) -> int:
        bound = self._bounds.get(side.function, {}).get(side.variant)
        if bound is not None and bound.warm_too:
            return 0
        return sum(other.loads[side.key].warm for other in self._links if side.key in other.loads)

    def _told(self, key: str) -> Iterable[tuple[Link, Told]]:
        now_us = self._agenda.now_us
        return ((link, link.said(key, now_us)) for link in self._links if key in link.loads)

    def _forecasts(self, state: State) -> Forecasts:
        found: dict[Variant, Forecast] = {}
        for variant, side in state.sides.items():
            known = forecast(told for _, told in self._told(side.key))
            if known is not None:
                found[variant] = known
        for variant, why in state.unplaceable.items():
            if not found.get(variant, Forecast()).warm:
                found[variant] = Forecast(unplaceable=why)
        return under(self._bounds.get(state.function.key, {}), found, self._agenda.now_us)

    def _move(self, visit: Visit, side: Side) -> None:
        visit.side.in_system -= 1
        side.in_system += 1
        if side is not visit.side:
            side.arrivals += 1
            if not visit.miss_step:
                visit.side.arrivals -= 1
        visit.side = side

    def _leave_queue(self, visit: Visit) -> None:
        if visit.queued:
            visit.queued = False
            visit.state.undispatched -= 1
