"""The way in, in simulated time: choice of variant, hold while cold, the agents in order, and the demand it tells.

The walk of a request is the live gateway's (choose, hold, send, choose again) with the same pure decisions; bodies and
connections are left out, so nothing is ever lost on the way.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from stoker.admission import Choice, Forecast, Hold, Refuse, Send, after_miss, choose, misses_cpu
from stoker.agents_choice import Told, forecast, room, soonest_first
from stoker.hold_shares import HoldShares
from stoker.model.demand import Demand, VariantDemand
from stoker.model.function import Function, Variant
from stoker.names import flow_of
from stoker.reasons import Outcome, Reason
from stoker.wire.agent import VariantLoad
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.book import VARIANT_CODE, Book
from stoker_sim.workload import Workload

MAX_CANDIDATES = 3
"""As the live gateway: the first agent and up to two more."""
WAKE_MEMORY_US = 600_000_000
"""As the live gateway: how long a wake is told at least."""
_UNLIMITED = 1 << 62


class Admitting(Protocol):
    """An agent as the gateway sees it."""

    def admit(
        self, index: int, key: str, objective_us: int, timeout_us: int, *, cold: bool, late_ok: bool
    ) -> Reason | None: ...


class Link:
    """One agent: what it told last, and what was sent to it since."""

    def __init__(self, agent: Admitting) -> None:
        self.agent = agent
        self.loads: dict[str, VariantLoad] = {}
        """By flow."""
        self.sent: dict[str, int] = {}


class Side:
    """Who wants one variant of a function."""

    def __init__(self, function: Function, variant: Variant) -> None:
        self.variant = variant
        self.key = flow_of(function.key, variant, function.primary)
        self.warm = 0
        self.held: dict[Visit, None] = {}
        self.in_system = 0
        self.last_wake_us: int | None = None

    def demand(self) -> VariantDemand:
        oldest_us = min((visit.arrived_us for visit in self.held), default=None)
        return VariantDemand(
            held=len(self.held), in_system=self.in_system, last_wake_us=self.last_wake_us, oldest_held_us=oldest_us
        )


class State:
    """One function at the gateway."""

    def __init__(self, function: Function, unplaceable: Mapping[Variant, str]) -> None:
        self.function = function
        self.unplaceable = unplaceable
        self.sides = {variant: Side(function, variant) for variant in function.variants}
        self.primary = self.sides[function.primary]
        self.undispatched = 0


class Visit(Struct, eq=False):
    """One request that was let in and has no answer yet."""

    index: int
    state: State
    side: Side
    arrived_us: int
    objective_us: int
    timeout_us: int
    held_since_us: int = 0
    miss_step: int = 0
    late_ok: bool = False
    """Of its hold: it is taken even if it is predicted to miss."""
    queued: bool = True
    """It counts in its function's queue."""
    forecast_late: bool = False
    """It was taken although a miss is predicted, or after a hold that began so."""


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
        poke: "Poke",
    ) -> None:
        """`enforces`: a predicted miss is acted upon."""
        self._agenda = agenda
        self._book = book
        self._enforces = enforces
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

    def follow(self, agents: Sequence[Admitting]) -> None:
        """These are the agents."""
        self._links = [Link(agent) for agent in agents]

    def told(self, agent: int, loads: Mapping[str, VariantLoad]) -> None:
        """A frame of an agent, by its number: the flows that changed."""
        link = self._links[agent]
        link.loads.update(loads)
        link.sent.clear()
        for key in loads:
            self._sides[key].warm = sum(other.loads[key].warm for other in self._links if key in other.loads)
        self._release()

    def arrive(self, index: int) -> None:
        """A request comes now."""
        book, now_us = self._book, self._agenda.now_us
        state = self._states[book.function[index]]
        spec = state.function.spec
        primary = state.primary
        primary.last_wake_us = now_us
        self._called[state.function.key] = state
        if state.undispatched >= spec.queue.max_requests:
            book.end(index, Outcome.REFUSED, Reason.QUEUE_FULL, now_us)
            self._poke()
            return
        timeout_us = now_us + spec.timeout_us
        objective_us = min(timeout_us, now_us + book.slo_us[index])
        visit = Visit(index, state, primary, now_us, objective_us, timeout_us)
        self._visits[index] = visit
        state.undispatched += 1
        primary.in_system += 1
        self._poke(load=bool(primary.warm))
        self._serve(visit, Send(primary.variant) if primary.warm else self._choose_cold(visit))

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

    def _choose_cold(self, visit: Visit) -> Choice:
        state, now_us = visit.state, self._agenda.now_us
        cold_us = state.function.spec.slo.cold_latency_us
        if cold_us is None:
            visit.objective_us = visit.timeout_us
        else:
            visit.objective_us = min(visit.timeout_us, visit.arrived_us + cold_us)
        choice, visit.miss_step = choose(
            state.function, self._forecasts(state), visit.objective_us - now_us, wakes=True
        )
        self._want_cpu(state, choice, 0, visit.miss_step)
        if isinstance(choice, Refuse) and choice.reason is Reason.PREDICTED_MISS and not self._enforces:
            return Hold(state.primary.variant, late_ok=True)
        return choice

    def _want_cpu(self, state: State, choice: Choice, start: int, end: int) -> None:
        if misses_cpu(state.function, choice, start, end):
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
        cold = bool(self._book.cold[visit.index])
        late_ok = choice.late_ok or not self._enforces
        self._book.promised[visit.index] = self._enforces and not choice.late_ok and not visit.forecast_late
        reason = Reason.NO_REPLICA
        for link in soonest_first(self._told(side.key))[:MAX_CANDIDATES]:
            link.sent[side.key] = link.sent.get(side.key, 0) + 1
            refused = link.agent.admit(
                visit.index, side.key, visit.objective_us, visit.timeout_us, cold=cold, late_ok=late_ok
            )
            if refused is None:
                return None
            reason = refused
        self._book.promised[visit.index] = False
        return reason

    def _after(self, visit: Visit, choice: Send, refused: Reason) -> Choice:
        if refused is not Reason.PREDICTED_MISS:
            return Hold(choice.variant, choice.late_ok)
        state, step = visit.state, visit.miss_step
        remaining_us = visit.objective_us - self._agenda.now_us
        following, visit.miss_step = after_miss(state.function, self._forecasts(state), remaining_us, step, wakes=True)
        self._want_cpu(state, following, step, visit.miss_step)
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
        visit.side = side

    def _leave_queue(self, visit: Visit) -> None:
        if visit.queued:
            visit.queued = False
            visit.state.undispatched -= 1


class Poke(Protocol):
    """Tells that there is something to plan; `load`: for functions that are warm, so it is not urgent."""

    def __call__(self, *, load: bool = False) -> None: ...
