"""The way in: who may come in, for how long, and what is left behind when they go.

Composes the parts of this package around one listener. Order of judgement: well-formed, known function, valid
wishes, then the function's queue bounds, all before the body is looked at; after that stoker_gateway.serving.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from ssl import SSLContext

import structlog
from aiohttp.web_protocol import RequestPayloadError

from stoker.decisions import RequestRecord
from stoker.metrics import MetricsSink
from stoker.model.demand import Demand
from stoker.model.function import Function, Variant
from stoker.reasons import Reason
from stoker_gateway.config import AgentAddress, GatewaySettings
from stoker_gateway.hangups import HangupWatch
from stoker_gateway.hold import HoldRoom, release
from stoker_gateway.inbound import CLOSE, Inbound, PublicServer, Reply
from stoker_gateway.load_view import LoadView
from stoker_gateway.outcomes import Books
from stoker_gateway.replies import Replies
from stoker_gateway.routing import NoRoute, RoutingTable, host_name
from stoker_gateway.screening import Screened, screen
from stoker_gateway.serving import Serving, forecast_of
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
    ) -> None:
        """`why_waiting` says in words what a function (by key) is waiting for; asked when a held request expires."""
        self._clock_us = clock_us
        self._settings = settings
        self._why_waiting = why_waiting
        self._on_demand: Callable[[], None] = _nobody
        self._states: dict[str, FunctionState] = {}
        self._table = RoutingTable((), settings.cluster_domain)
        self._live: set[Visit] = set()
        self._view = LoadView(self._on_frame, clock_us)
        self._room = HoldRoom(settings, metrics, self._demand_changed)
        self._replies = Replies(clock_us, lambda visit: forecast_of(self._view, visit))
        self._books = Books(metrics, on_record, clock_us)
        self._serving = Serving(
            clock_us=clock_us,
            view=self._view,
            room=self._room,
            replies=self._replies,
            settings=settings,
            on_wake=self._demand_changed,
        )
        self._hangups = HangupWatch(self._live, settings.hangup_poll_s)
        self._draining = False
        self._emptied: asyncio.Event | None = None
        self._listener: asyncio.Server | None = None
        self._server: PublicServer | None = None
        self.port = 0

    async def start(
        self, host: str, port: int, agents: Sequence[AgentAddress], agent_ssl: SSLContext | None = None
    ) -> None:
        """Listen, and follow the agents. Port 0 takes a free one; `port` says which."""
        self._view.start(agents, agent_ssl, self._settings.agent_idle_connections)
        self._server = PublicServer(self._handle, self._malformed, self._settings)
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

    def set_functions(self, functions: Mapping[str, Function]) -> None:
        """These are the functions from now on. Held requests of a removed one get 404, running ones finish."""
        for key, function in functions.items():
            state = self._states.get(key)
            if state is None:
                state = self._states[key] = FunctionState(function)
                self._see_warmth(state)
            state.function = function
        for key in self._states.keys() - functions.keys():
            state = self._states.pop(key)
            state.deleted = True
            for variant in (state.gpu, state.cpu):
                release(variant, found=False)
        self._table = RoutingTable(functions, self._settings.cluster_domain)

    def set_unplaceable(self, unplaceable: Mapping[str, Mapping[Variant, str]]) -> None:
        """By function key and variant: why no device of the platform could ever hold it. Such requests are refused
        with 503 NoFittingDevice (or diverted) instead of being held.
        """
        self._view.set_unplaceable(unplaceable)

    @property
    def connected(self) -> bool:
        """Whether an agent accepts requests, by its load stream."""
        return self._view.unusable_for_us() == 0

    def demand(self) -> Demand:
        """Who waits and runs now, and who woke what. Functions that nobody ever called are left out."""
        demand: Demand = {}
        for key, state in self._states.items():
            wanted = {
                variant.variant: variant.demand()
                for variant in (state.gpu, state.cpu)
                if variant.in_system or variant.last_wake_us is not None
            }
            if wanted:
                demand[key] = wanted
        return demand

    def on_demand(self, callback: Callable[[], None]) -> None:
        """Called on every wake and whenever somebody is held or let go: cheap, and coalesced by whoever is called."""
        self._on_demand = callback

    async def _handle(self, inbound: Inbound) -> Reply:
        now_us = self._clock_us()
        screened = screen(inbound.message, self._settings.max_head_bytes)
        visit = Visit(inbound, screened, now_us)
        refused = self._let_in(visit, screened, now_us)
        if refused is not None:
            self._books.close(visit)
            return refused
        state = visit.state
        assert state is not None
        loop = asyncio.get_running_loop()
        visit.task = asyncio.current_task()
        visit.enter(state)
        self._live.add(visit)
        self._on_demand()
        timer = loop.call_later((visit.timeout_at_us - now_us) / 1e6, visit.end, Reason.TIMEOUT)
        try:
            return await self._serving.serve(visit, state)
        except asyncio.CancelledError:
            if visit.cut is None or inbound.transport is None:
                self._replies.gone(visit)
                raise
            assert visit.task is not None
            visit.task.uncancel()
            return self._replies.cut(visit, visit.cut, self._why_cut(visit, state))
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

    def _let_in(self, visit: Visit, screened: Screened, now_us: int) -> Reply | None:
        """Judge what can be judged before the body; a Reply if it stays outside."""
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
        function = state.function
        spec = function.spec
        visit.target = route.target
        latency_us = function.objective_us(screened.slo_class)
        if latency_us is None:
            known = ", ".join(sorted(spec.slo.classes)) or "none"
            return refuse(visit, Reason.UNKNOWN_CLASS, f"The function has no class of that name; it has: {known}.")
        visit.latency_us = visit.objective_us = latency_us
        timeout_us = spec.timeout_us
        if screened.deadline_ms is not None:
            timeout_us = min(timeout_us, screened.deadline_ms * 1000)
        visit.timeout_at_us = now_us + timeout_us
        visit.objective_at_us = now_us + min(timeout_us, latency_us)
        primary = state.primary
        visit.wakes = function.wakes(route.target.partition("?")[0])
        if visit.wakes:
            primary.last_wake_us = now_us
        if state.full(visit.body_bytes):
            if visit.wakes:
                self._on_demand()
            return refuse(visit, Reason.QUEUE_FULL, f"The queue of {state.key} is full (spec.queue).")
        return None

    def _why_cut(self, visit: Visit, state: FunctionState) -> str:
        if visit.cut is Reason.DRAINING:
            return "The gateway is shutting down and could not wait any longer."
        if visit.dispatched:
            return "The function did not answer within the timeout."
        held = visit.variant_state is not None and not visit.variant_state.warm
        why = self._why_waiting(state.key) if held else ""
        return f"The timeout passed before it was dispatched{f': {why}' if why else '.'}"

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
        self._room.release_warm()

    def _see_warmth(self, state: FunctionState) -> None:
        for variant in (state.gpu, state.cpu):
            variant.warm = self._view.warm(state.key, variant.variant)

    def _demand_changed(self) -> None:
        self._on_demand()


def _nobody() -> None:
    """Nobody listens to demand yet."""
