"""The way in: who may come in, for how long, and what is left behind when they go.

Composes the parts of this package around one listener. Order of judgement: well-formed, known function, permitted
caller, valid wishes, then the function's queue bounds, all before the body is looked at and, as far as they refuse a
caller, before anything is woken; after that stoker_gateway.serving.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from ssl import SSLContext

import structlog
from aiohttp.web_protocol import RequestPayloadError

from stoker.cost.costs import Bounds
from stoker.decider import Arrival, Decider
from stoker.decisions import RequestRecord
from stoker.metrics import MetricsSink
from stoker.model.demand import Demand
from stoker.model.function import Function, Variant
from stoker.model.policy import Policy
from stoker.reasons import Reason
from stoker.tickets import TicketKeys
from stoker_gateway.access import Prover, denial, open_to_all
from stoker_gateway.agent_link import AgentDial
from stoker_gateway.choosing import Choosing
from stoker_gateway.closed_doors import ClosedDoors
from stoker_gateway.config import AgentAddress, GatewaySettings
from stoker_gateway.crowd import Crowd
from stoker_gateway.demand_book import DemandBook
from stoker_gateway.hangups import HangupWatch
from stoker_gateway.hold import HoldRoom, release
from stoker_gateway.inbound import CLOSE, Inbound, PublicServer, Reply
from stoker_gateway.load_view import LoadView
from stoker_gateway.outcomes import Books
from stoker_gateway.replies import Replies, why_cut
from stoker_gateway.retries import Retries
from stoker_gateway.routing import NoRoute, RoutingTable, host_name
from stoker_gateway.screening import Screened, screen
from stoker_gateway.serving import Serving, forecast_of
from stoker_gateway.ticketing import Ticketing
from stoker_gateway.visit import FunctionState, Visit

LAST_TURNS = 8
"""Turns of the loop after the listener has closed: reading, parsing and answering takes four."""

log = structlog.get_logger(__name__)


class Gateway:
    """See the module. Everything runs on the loop that start() was called on."""

    def __init__(
        self,
        *,
        clock_us: Callable[[], int],
        metrics: MetricsSink,
        settings: GatewaySettings,
        on_record: Callable[[RequestRecord], None],
        why_waiting: Callable[[str], str],
        prover: Prover | None = None,
        by_path: Callable[[str], bool] | None = None,
        decider: Decider = Decider(),  # noqa: B008  it has no state
    ) -> None:
        """`why_waiting` says in words what a function (by key) is waiting for; asked when a held request expires.

        `prover` finds out who calls functions that are not open to all; None: everybody may. `by_path`: RoutingTable.
        """
        self._clock_us = clock_us
        self._settings = settings
        self._why_waiting = why_waiting
        self._prover = prover
        self._by_path = by_path
        self._on_demand: Callable[[], None] = _nobody
        self._on_load: Callable[[], None] = _nobody
        self._states: dict[str, FunctionState] = {}
        self._demand = DemandBook(clock_us)
        self._gateways = 1
        self._hostnames: dict[str, str] = {}
        self._table = RoutingTable((), settings.cluster_domain, by_path=by_path)
        self._live: set[Visit] = set()
        self._view = LoadView(self._on_frame, clock_us)
        self._decider = decider
        self._room = HoldRoom(settings, metrics, self._demand_changed, decider)
        self._ticketing = Ticketing(metrics, clock_us)
        self._shares = decider.make_shares(settings.max_connections, settings.hold_bytes, "under way")
        self._replies = Replies(clock_us, lambda visit: forecast_of(self._view, visit), self._ticketing)
        self._books = Books(metrics, on_record, clock_us, self._live)
        self.under_way = self._books.under_way
        self._choosing = Choosing(
            clock_us=clock_us,
            view=self._view,
            decider=decider,
            seed=settings.device_choice_seed,
            on_wake=self._demand_changed,
        )
        self._serving = Serving(
            clock_us=clock_us,
            view=self._view,
            room=self._room,
            replies=self._replies,
            settings=settings,
            choosing=self._choosing,
            ticketing=self._ticketing,
            retries=Retries(metrics, clock_us),
            doors=ClosedDoors(metrics, clock_us),
        )
        self._hangups = HangupWatch(self._live, settings.hangup_poll_s)
        self._crowd = Crowd(self._handle, metrics, clock_us)
        self._draining = False
        self._emptied: asyncio.Event | None = None
        self._listener: asyncio.Server | None = None
        self._server: PublicServer | None = None
        self.port = 0

    async def start(
        self,
        host: str,
        port: int,
        agents: Collection[AgentAddress],
        agent_ssl: SSLContext | None = None,
        agent_name: str | None = None,
    ) -> None:
        """Listen, and follow the agents (their certificates must be for `agent_name`). Port 0 takes a free one;
        `port` says which.
        """
        self._view.start(AgentDial(agent_ssl, agent_name, self._settings.agent_idle_connections))
        self._view.set_agents(agents)
        self._server = PublicServer(self._crowd.take, self._malformed, self._settings)
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._server, host, port, backlog=self._settings.backlog, reuse_address=True
            )
        except OSError:
            await self._view.stop()
            raise
        self.port = self._listener.sockets[0].getsockname()[1]
        self._hangups.start()

    async def stop(self, *, drain_s: float) -> None:
        """Refuse new requests (503 Draining, on an open listener, so that nobody meets a reset), finish those that
        were let in, end what is left after `drain_s`, and close.
        """
        self._draining = self._replies.closing = True
        if self._live:
            self._emptied = asyncio.Event()
            try:
                async with asyncio.timeout(drain_s):
                    await self._emptied.wait()
            except TimeoutError:
                log.warning("drain_incomplete", requests=len(self._live), drain_s=drain_s)
                for visit in tuple(self._live):
                    visit.end(Reason.DRAINING)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await self._emptied.wait()
        if self._listener is not None:
            self._listener.close()
            # What has arrived by now is still answered (503), instead of meeting a reset.
            for _ in range(LAST_TURNS):
                await asyncio.sleep(0)
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(self._settings.lingering_s)
        self._hangups.stop()
        await self._view.stop()

    def set_agents(self, agents: Collection[AgentAddress]) -> None:
        """These are the agents from now on. What runs at one that went may finish there. Not before start()."""
        self._view.set_agents(agents)

    def set_gateways(self, count: int) -> None:
        """So many gateways are ready, this one included: each lets in its share of every function's queue."""
        self._gateways = max(1, count)

    def set_functions(self, functions: Mapping[str, Function], hostnames: Mapping[str, str] | None = None) -> None:
        """These are the functions from now on, and whose the own hostnames are (function keys by name). Held requests
        of a removed function get 404, running ones finish.
        """
        names = dict(hostnames or {})
        rerouted = functions.keys() != self._states.keys() or names != self._hostnames
        for key, function in functions.items():
            state = self._states.get(key)
            if state is None:
                state = self._states[key] = FunctionState(function)
                self._see_warmth(state)
            state.set_function(function)
        for key in self._states.keys() - functions.keys():
            state = self._states.pop(key)
            self._demand.removed(key)
            state.deleted = True
            for variant in (state.gpu, state.cpu):
                release(variant, found=False)
        if rerouted:
            self._hostnames = names
            self._table = RoutingTable(functions, self._settings.cluster_domain, hostnames=names, by_path=self._by_path)

    def set_policy(self, policy: Policy) -> None:
        """As Choosing.set_policy: for the requests that come from now on."""
        self._choosing.set_policy(policy)

    def set_ticket_keys(self, keys: TicketKeys | None) -> None:
        """By these tickets are sealed and opened from now on, here and at every gateway that has one of them. None: no
        tickets are given, and none is good.
        """
        self._ticketing.keys = keys

    def set_unplaceable(self, unplaceable: Mapping[str, Mapping[Variant, str]]) -> None:
        """By function key and variant: why no device of the platform could ever hold it. Such requests are refused
        with 503 NoFittingDevice (or diverted) instead of being held.
        """
        self._view.set_unplaceable(unplaceable)

    def set_bounds(self, bounds: Bounds) -> None:
        """What requests may not have for its cost, on this gateway's clock: they get 429 CostBound, or are diverted."""
        self._view.set_bounds(bounds)

    @property
    def connected(self) -> bool:
        """Whether an agent accepts requests, by its load stream."""
        return self._view.unusable_for_us() == 0

    @property
    def agents(self) -> tuple[int, int]:
        """How many there are, and how many of them are heard and accept requests."""
        return self._view.agents

    @property
    def settled(self) -> bool:
        """Whether every agent has spoken, or has been silent for so long that it is not worth waiting for."""
        return self._view.settled

    @property
    def live(self) -> Collection[str]:
        """Keys of the functions that have requests under way, deleted ones too."""
        return {visit.state.key for visit in self._live if visit.state is not None}

    def demand(self) -> Demand:
        """Who waits and runs now, and who woke what. Functions that nobody called for long are left out."""
        return self._demand.demand()

    def attained(self) -> dict[str, tuple[int, int, int]]:
        """By function, since this gateway began: requests that counted towards the objective, on time, diverted."""
        told = ((key, state.offered, state.on_time, state.diverted) for key, state in self._states.items())
        return {key: (offered, on_time, diverted) for key, offered, on_time, diverted in told if offered}

    def on_demand(self, callback: Callable[[], None], load: Callable[[], None] | None = None) -> None:
        """`callback` is called on every wake and whenever somebody is held or let go, `load` (or else `callback`) when
        a request comes for a function that is warm: cheap, and coalesced by whoever is called.
        """
        self._on_demand = callback
        self._on_load = load or callback

    async def _handle(self, inbound: Inbound, now_us: int) -> Reply:
        screened = screen(inbound.message, self._settings.max_head_bytes)
        visit = Visit(inbound, screened, now_us)
        refused = self._direct(visit, screened, now_us)
        state = visit.state
        proving = self._prover is not None and state is not None and not open_to_all(state.function)
        if refused is None and not proving:
            refused = self._let_in(visit, screened, now_us)
        if refused is not None:
            self._books.close(visit)
            visit.leave()
            return refused
        assert state is not None
        loop = asyncio.get_running_loop()
        visit.task = asyncio.current_task()
        self._live.add(visit)
        timer = loop.call_later((visit.timeout_at_us - now_us) / 1e6, visit.end, Reason.TIMEOUT)
        try:
            if proving:
                denied = await denial(self._prover, state.function, screened.token)
                if denied is not None:
                    return self._replies.refuse(visit, denied.reason, denied.detail)
                refused = self._let_in(visit, screened, now_us)
                if refused is not None:
                    return refused
            visit.enter(state, self._shares)
            (self._on_load if state.primary.warm else self._on_demand)()
            return await self._serving.serve(visit, state)
        except asyncio.CancelledError:
            if visit.cut is None or inbound.transport is None:
                self._replies.gone(visit)
                raise
            assert visit.task is not None
            visit.task.uncancel()
            return self._replies.cut(visit, visit.cut, why_cut(visit, self._why_waiting))
        except RequestPayloadError:
            visit.body_broken = True
            return self._replies.cut(visit, Reason.MALFORMED_REQUEST, "The framing of the body is broken.")
        except Exception as exc:
            if inbound.transport is None or isinstance(exc, ConnectionError):
                # The client's connection: those of agents are dealt with where they happen.
                self._replies.gone(visit)
                inbound.abort()
                return CLOSE
            log.exception("gateway_failed", request_id=visit.id.decode(), function=state.key)
            return self._replies.cut(visit, Reason.CONTROL_PLANE_UNAVAILABLE, "The gateway failed; see its log.")
        finally:
            timer.cancel()
            visit.task = None
            self._books.close(visit)
            visit.leave()
            self._live.discard(visit)
            if self._emptied is not None and not self._live:
                self._emptied.set()

    def _direct(self, visit: Visit, screened: Screened, now_us: int) -> Reply | None:
        """Find the function that it is for; a Reply if there is none or nobody may come in now."""
        refuse = self._replies.refuse
        if screened.refusal is not None:
            return refuse(visit, *screened.refusal, close=True)
        if self._draining:
            return refuse(visit, Reason.DRAINING, "The gateway is shutting down; call again.", close=True)
        if visit.inbound.protocol.surplus:
            return refuse(visit, Reason.HOLD_FULL, "The gateway has as many connections as it may.", close=True)
        route = self._table.route(host_name(screened.host.decode()), visit.target)
        if isinstance(route, NoRoute):
            return refuse(visit, route.reason, route.detail)
        state = visit.state = self._states[route.key]
        visit.target = route.target
        timeout_us = state.function.spec.timeout_us
        if screened.deadline_ms is not None:
            timeout_us = min(timeout_us, screened.deadline_ms * 1000)
        visit.timeout_at_us = now_us + timeout_us
        return None

    def _let_in(self, visit: Visit, screened: Screened, now_us: int) -> Reply | None:
        """Judge the rest of what can be judged before the body; a Reply if it stays outside."""
        refuse = self._replies.refuse
        state = visit.state
        assert state is not None
        if state.deleted:
            return refuse(visit, Reason.FUNCTION_NOT_FOUND, f"The function {state.key} was deleted.")
        function = state.function
        spec = function.spec
        latency_us = function.objective_us(screened.slo_class)
        if latency_us is None:
            known = ", ".join(sorted(spec.slo.classes)) or "none"
            return refuse(visit, Reason.UNKNOWN_CLASS, f"The function has no class of that name; it has: {known}.")
        state.retry_budget.request(now_us)
        visit.latency_us = visit.objective_us = latency_us
        visit.objective_at_us = min(visit.timeout_at_us, now_us + latency_us)
        primary = state.primary
        visit.wakes = function.wakes(visit.target.partition("?")[0])
        if visit.wakes:
            if self._choosing.knows_first(state):
                primary.last_wake_us = now_us
            self._demand.called(state)
        arrival = Arrival(
            id=visit.id.decode(),
            now_us=now_us,
            latency_us=latency_us,
            timeout_us=visit.timeout_at_us - now_us,
            body_bytes=visit.body_bytes,
            wakes=visit.wakes,
        )
        if self._decider.queue_full(function, arrival, state.crowd(self._gateways)):
            if visit.wakes:
                wanted = primary
                if not self._choosing.knows_first(state):
                    wanted = state.variant(state.first)
                    wanted.last_wake_us = now_us
                wanted.arrivals += 1
                self._on_demand()
            return refuse(visit, Reason.QUEUE_FULL, f"The queue of {state.key} is full (spec.queue).")
        if self._shares.full(function.namespace, visit.kept_bytes):
            self._on_demand()
            detail = "The namespace has as many requests here, or bodies of them, as leave room for others."
            return refuse(visit, Reason.HOLD_FULL, detail)
        return self._serving.at_once(visit, state)

    def _malformed(self, inbound: Inbound, reason: Reason, detail: str) -> Reply:
        """What aiohttp's parser refused, before there was anything to look at."""
        visit = Visit(inbound, Screened(), self._clock_us())
        reply = self._replies.refuse(visit, reason, detail, close=True)
        self._books.close(visit)
        return reply

    def _on_frame(self, changed: Iterable[str]) -> None:
        for key in changed:
            state = self._states.get(key)
            if state is not None:
                self._see_warmth(state)
        self._room.release_warm(self._view.room, self._view.paid_us)

    def _see_warmth(self, state: FunctionState) -> None:
        for variant in (state.gpu, state.cpu):
            variant.warm = self._view.warm(state.key, variant.variant)

    def _demand_changed(self) -> None:
        self._on_demand()


def _nobody() -> None:
    """Nobody listens to demand yet."""
