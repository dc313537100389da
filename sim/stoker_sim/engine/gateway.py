"""The way in, in simulated time: choice of variant, hold while cold, the agents in order, and the demand it tells.

The walk of a request is the live gateway's (choose, hold, send, choose again) with the same pure decisions; bodies and
connections are left out, so nothing is ever lost on the way.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from stoker.admission import (
    Choice,
    Forecast,
    Hold,
    Refuse,
    Send,
    after_miss,
    choose,
    misses_cpu,
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
from stoker_sim.engine.returns import Returns
from stoker_sim.engine.returns import Told as ToldBack
from stoker_sim.engine.visits import Side, State, Visit
from stoker_sim.workload import Workload

MAX_CANDIDATES = 3
"""As the live gateway: the first agent and up to two more."""
WAKE_MEMORY_US = 600_000_000
"""As the live gateway: how long a wake is told at least."""
_UNLIMITED = 1 << 62


class Admitting(Protocol):
    """An agent as the gateway sees it."""

    @property
    def name(self) -> str: ...
    def admit(
        self, index: int, key: str, objective_us: int, timeout_us: int, *, cold: bool, late_ok: bool, said: str = ""
    ) -> Reason | None: ...


class Link:
    """One agent: what it told last, and what was sent to it since."""

    def __init__(self, agent: Admitting) -> None:
        self.agent = agent
        self.loads: dict[str, VariantLoad] = {}
        """By flow."""
        self.sent: dict[str, int] = {}


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
        poke: "Poke",
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
        self._bounds = bounds

    def follow(self, agents: Sequence[Admitting]) -> None:
        """These are the agents."""
        self._links = [Link(agent) for agent in agents]

    def told(self, agent: int, loads: Mapping[str, VariantLoad]) -> None:
        """A frame of an agent, by its number: the flows that changed."""
        link = self._links[agent]
        link.loads.update(loads)
        link.sent.clear()
        self._crowd = None
        for key in loads:
            self._sides[key].warm = sum(other.loads[key].warm for other in self._links if key in other.loads)
        self._release()

    def arrive(self, index: int) -> None:
        """A request comes now."""
        book, now_us = self._book, self._agenda.now_us
        state = self._states[book.function[index]]
        spec = state.function.spec
        primary = state.primary
        decides = state.chooses and self._chooser.foresees
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
        self._serve(visit, Hold(visit.side.variant, visit.late_ok))

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
        self._want_cpu(visit, choice, 0)
        return choice

    def _want_cpu(self, visit: Visit, choice: Choice, start: int) -> None:
        state = visit.state
        if misses_cpu(state.function, choice, start, visit.miss_step, visit.course):
            state.sides[Variant.CPU].last_wake_us = self._agenda.now_us
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
            return Hold(choice.variant, choice.late_ok)
        state, step = visit.state, visit.miss_step
        remaining_us = visit.objective_us - self._agenda.now_us
        following, visit.miss_step = after_miss(
            state.function, self._forecasts(state), remaining_us, step, wakes=True, course=visit.course
        )
        if not self._enforces:
            following = unless_missed(following, Send(choice.variant, late_ok=True))
        self._want_cpu(visit, following, step)
        return following

    # Inside.

    def _told(self, key: str) -> Iterable[tuple[Link, Told]]:
        return ((link, Told(link.loads[key], link.sent.get(key, 0))) for link in self._links if key in link.loads)

    def _forecasts(self, state: State) -> dict[Variant, Forecast]:
        found: dict[Variant, Forecast] = {}
        for variant, side in state.sides.items():
            known = forecast(told.load for _, told in self._told(side.key))
            if known is not None:
                found[variant] = known
        for variant, why in state.unplaceable.items():
            if not found.get(variant, Forecast()).warm:
                found[variant] = Forecast(unplaceable=why)
        return found

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


class Poke(Protocol):
    """Tells that there is something to plan; `load`: for functions that are warm, so it is not urgent."""

    def __call__(self, *, load: bool = False) -> None: ...
