"""The node agent: device truth, reservations, replicas, the request queue over all slots, and the wire to gateways.

Composes the parts of this package and owns the states of replicas: who wants one started, drained or gone asks
here. It starts no process, reads no file and knows no reconciler.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from ssl import SSLContext

import structlog

from stoker import metrics as m
from stoker.decider import Decider
from stoker.lifecycle import check_transition
from stoker.model.device import Device, Reservation
from stoker.model.function import Function, Probe, Sharing, Variant
from stoker.model.policy import Policy, default_policy
from stoker.model.replica import ReplicaSpec, ReplicaState, ReplicaStatus
from stoker.names import flow_of
from stoker.prediction import Predictions
from stoker.reasons import Reason
from stoker.slots.forecast import Lookout
from stoker.slots.reservations import Reservations
from stoker.slots.shares import shares_of
from stoker_node.admission import Admission
from stoker_node.changes import Changes
from stoker_node.config import NodeSettings
from stoker_node.data_server import DataConnection, DataService
from stoker_node.dispatch import Dispatcher
from stoker_node.exchange import Exchange
from stoker_node.gauges import Gauges
from stoker_node.load_stream import LoadStream
from stoker_node.metering import Metering
from stoker_node.probing import wait_ready
from stoker_node.replica_table import FlowState, Replica, ReplicaTable, flow_key_of, queued_by_function, statuses
from stoker_runtime.http_client import HttpPool

log = structlog.get_logger(__name__)

_BACKLOG = 4096
"""As many connections as a gateway may open at once when a function becomes warm: none must become a reset."""


class Agent:
    """See the module and docs: the public methods are what the composer and the reconciler may use."""

    def __init__(
        self,
        *,
        devices: Sequence[Device],
        clock_us: Callable[[], int],
        metrics: m.MetricsSink,
        queueing: str = "least-slack",
        settings: NodeSettings = NodeSettings(),  # noqa: B008  a frozen value
        decider: Decider = Decider(),  # noqa: B008  it has no state
    ) -> None:
        """Raises UnknownName for a queueing policy that does not exist."""
        self._clock_us = clock_us
        self._sink = metrics
        self._settings = settings
        self._functions: dict[str, Function] = {}
        self._policy = default_policy()
        self._predictions = predictions = decider.make_predictions()
        self._reservations = Reservations(devices)
        self._table = ReplicaTable(devices)
        self.metering = Metering(self._reservations, metrics, clock_us)
        self._lookout = Lookout(predictions)
        self._changes = Changes()
        self._dispatcher = Dispatcher(
            table=self._table,
            predictions=self._predictions,
            lookout=self._lookout,
            changes=self._changes,
            sink=metrics,
            clock_us=clock_us,
            queueing=queueing,
            cut_grace_s=settings.cut_grace_s,
            decider=decider,
        )
        self._exchange = Exchange(self._dispatcher, clock_us, settings, self._suspend)
        self._dispatcher.forward_by(self._exchange.run)
        self._admission = Admission(
            self._table,
            predictions,
            self._dispatcher,
            lookout=self._lookout,
            sink=metrics,
            decider=decider,
            # What was reserved before a restart is not: no place of then may be taken for one of now.
            name=f"{secrets.token_hex(4)}-",
        )
        self._load = LoadStream(self._table, self._predictions, lambda: self._dispatcher.policy, clock_us)
        self._gauges = Gauges(self._table, metrics, lambda: self._dispatcher.policy)
        self._callbacks: list[Callable[[], None]] = []
        self._connections: set[DataConnection] = set()
        self._server: asyncio.Server | None = None
        self._closing_pools: set[asyncio.Task[None]] = set()
        self.port = 0
        """The port of the data listener, once started."""
        self._gauges.devices(devices)
        self._changes.listen(self._load.changed, self._gauges.changed, self._tell)

    # Life.

    async def start(self, host: str = "127.0.0.1", port: int = 0, ssl: SSLContext | None = None) -> None:
        """Listen for gateways. OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        service = DataService(
            self._admission,
            self._dispatcher,
            self._load,
            self._clock_us,
            self._connections,
            self._settings.hang_up_poll_s,
        )
        self._server = await loop.create_server(lambda: DataConnection(service), host, port, ssl=ssl, backlog=_BACKLOG)
        self.port = self._server.sockets[0].getsockname()[1]
        self._changes.start(loop)

    async def stop(self, *, drain_s: float) -> None:
        """Accept nothing new, finish what is queued and running for `drain_s`, end the rest, close. Twice is fine."""
        if self._server is None:
            return
        server, self._server = self._server, None
        self._admission.accepting = False
        self._load.stop_accepting()
        try:
            async with asyncio.timeout(drain_s):
                await self._dispatcher.wait_idle()
        except TimeoutError:
            log.warning("drain_incomplete", requests=len(self._dispatcher.active), drain_s=drain_s)
        await self._dispatcher.abort()
        server.close()
        self._load.close()
        for connection in tuple(self._connections):
            connection.close()
        for replica in tuple(self._table.by_id.values()):
            self._end_probe(replica)
            self._close_pool(replica)
        if self._closing_pools:
            await asyncio.wait(self._closing_pools)
        self._changes.stop()

    # What should be.

    def set_functions(self, functions: Mapping[str, Function]) -> None:
        """The functions that exist now. Removed ones get nothing new; what they run or queue goes on."""
        before, self._functions = self._functions, dict(functions)
        self._admission.set_functions(self._functions, self._policy)
        for key, function in functions.items():
            old = before.get(key)
            if old is not None and old.revision != function.revision:
                self._predictions.reset(key)
            for variant in function.variants:
                self._table.flow(flow_of(key, variant, function.primary), key, variant)
        self._dispatcher.set_weights(shares_of(functions.values(), self._policy))
        for flow in tuple(self._table.flows.values()):
            self._define(flow)
        for key in before.keys() - functions.keys():
            if not self._table.of_function(key):
                self._predictions.forget(key)

    def set_shares(self, policy: Policy) -> None:
        """What of this GpuPolicy concerns an agent acts from now on; weights of namespaces also on what is queued."""
        self._policy = policy
        self._lookout.follow(policy)
        self._admission.set_functions(self._functions, policy)
        self._dispatcher.set_weights(shares_of(self._functions.values(), policy))

    def forget(self, function: str) -> bool:
        """Drop what was measured of a function that was deleted. False, and nothing, while something of it is here."""
        if self._table.of_function(function):
            return False
        self._predictions.forget(function)
        return True

    def set_queueing(self, name: str) -> None:
        """Exchange the queueing policy live; nothing queued is lost. UnknownName changes nothing."""
        self._dispatcher.set_queueing(name)

    def set_devices(self, devices: Sequence[Device]) -> None:
        """New health of the devices (DeviceWatch). Unhealthy ones get no new reservation; what runs there goes on."""
        self._reservations.set_devices(devices)
        self._gauges.health(devices)
        self._tell({})

    # Replicas.

    def reserve(self, spec: ReplicaSpec, reservations: Sequence[Reservation]) -> Reason | None:
        """Promise the devices to a replica that will be started: all or none. None: granted, the replica is starting.

        Asking again for what is granted is granted again. An id is free again once its replica was detached.
        """
        flow_key = flow_key_of(spec, self._functions)
        reason = self._reservations.reserve(spec, reservations)
        if reason is not None or spec.id in self._table.by_id:
            return reason
        flow = self._table.flow(flow_key, spec.function, spec.variant)
        exclusive = any(part.sharing is Sharing.EXCLUSIVE for part in reservations)
        slots = self._table.devices[spec.devices[0]]
        check_transition(None, ReplicaState.STARTING)
        replica = Replica(spec, flow, slots, exclusive=exclusive, now_us=self._clock_us())
        self._table.add(replica)
        self.metering.hold(spec, replica)
        self._define(flow)
        self._gauges.reserved(self._reservations, spec.devices)
        self._changes.state(flow)
        return None

    def hold(self, spec: ReplicaSpec, reservations: Sequence[Reservation]) -> None:
        """Keep the devices from others without making a replica of it: a pod got them and may not use them, or not
        yet. reserve() of the same reservations is granted then; detach() gives them back.
        """
        before = {part.device_id for part in self._reservations.of(spec.id)}
        self._reservations.hold(spec, reservations)
        self.metering.hold(spec)
        after = {part.device_id for part in self._reservations.of(spec.id)}
        self._gauges.reserved(self._reservations, before | after)

    def attach(self, replica_id: str, host: str, port: int, readiness: Probe, *, measured: bool = True) -> None:
        """Its process runs and will listen there: probe it until it is ready. Unknown or attached before: nothing.

        `readiness` is that of its own revision, which after a roll-back is not the applied one. Not `measured`: it
        began before this agent knew it, so how long it takes to start is not learnt from it.
        """
        replica = self._table.by_id.get(replica_id)
        if replica is None or replica.pool is not None:
            return
        flow = replica.flow
        replica.pool = HttpPool(host, port, max_idle=self._settings.replica_idle_connections)
        if measured:
            self._sink.inc(m.REPLICA_STARTS, flow.namespace, flow.name, flow.variant.value)
        if replica.state is ReplicaState.STARTING:
            probing = self._probe(replica, host, port, readiness, measured=measured)
            replica.probe_task = asyncio.get_running_loop().create_task(probing)

    async def drain(self, replica_id: str) -> None:
        """Dispatch nothing more to it; returns when nothing is in flight there. Unknown: at once."""
        replica = self._table.by_id.get(replica_id)
        if replica is None:
            return
        if replica.state is not ReplicaState.DRAINING:
            self._set_state(replica, ReplicaState.DRAINING)
            self._end_probe(replica)
        if replica.running:
            waiter = asyncio.get_running_loop().create_future()
            replica.drained.append(waiter)
            await waiter

    def detach(self, replica_id: str, reason: Reason | None = None) -> None:
        """Its process is gone: end what it still ran and give its devices back. `reason` is why, where it failed."""
        replica = self._table.by_id.get(replica_id)
        self.metering.release(replica_id)
        if replica is None:
            held = {part.device_id for part in self._reservations.of(replica_id)}
            if self._reservations.release(replica_id):
                self._gauges.reserved(self._reservations, held)
            return
        flow = replica.flow
        if reason is not None:
            labels = (flow.namespace, flow.name, flow.variant.value)
            self._sink.inc(m.REPLICA_FAILURES, *labels, reason.value)
        self._end_probe(replica)
        check_transition(replica.state, ReplicaState.GONE)
        self._table.remove(replica)
        self._dispatcher.rearrange()
        self._reservations.release(replica_id)
        self._gauges.reserved(self._reservations, replica.spec.devices)
        if replica.running:
            # The kernel has closed its sockets, but its last bytes may still be unread here.
            loop = asyncio.get_running_loop()
            loop.call_later(self._settings.exit_grace_s, self._fail_running, replica, reason)
        else:
            self._close_pool(replica)
            replica.tell_drained()
        self._after_loss(flow)
        self._table.forget_flow(flow)
        if flow.function not in self._functions and not self._table.of_function(flow.function):
            self._predictions.forget(flow.function)

    # What is.

    def devices(self) -> tuple[Device, ...]:
        return self._reservations.devices()

    def reservations(self) -> tuple[Reservation, ...]:
        return self._reservations.all()

    def replicas(self) -> tuple[ReplicaStatus, ...]:
        return statuses(self._table.by_id.values(), self._dispatcher.policy, self._clock_us())

    def replica(self, replica_id: str) -> ReplicaStatus | None:
        """One of replicas()."""
        found = self._table.by_id.get(replica_id)
        return None if found is None else statuses((found,), self._dispatcher.policy, self._clock_us())[0]

    def queued(self) -> dict[str, dict[Variant, int]]:
        """Requests queued, by function and variant; only those with any."""
        return queued_by_function(self._table.flows.values(), self._dispatcher.policy)

    def prediction(self) -> Predictions:
        """Shared; others only read it."""
        return self._predictions

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back when a replica's state, its idleness or a queue changed: at once, or at most 10 times a second."""
        self._callbacks.append(callback)

    # Inside.

    def _tell(self, _: dict[str, FlowState]) -> None:
        for callback in self._callbacks:
            callback()

    def _define(self, flow: FlowState) -> None:
        """Bring a flow and its replicas up to the function as applied last."""
        function = self._functions.get(flow.function)
        if flow.definition is not function:
            self._changes.touch(flow)
        if function is None or flow.variant not in function.variants:
            flow.definition = None
            self._table.forget_flow(flow)
            return
        flow.definition = function
        concurrency = function.concurrency_of(flow.variant)
        changed = [replica for replica in flow.replicas.values() if replica.concurrency != concurrency]
        for replica in changed:
            replica.concurrency = concurrency
            self._table.refresh(replica)
        if changed:
            self._dispatcher.rearrange()
            self._dispatcher.offer(flow.devices)
            self._changes.touch(flow)

    def _set_state(self, replica: Replica, state: ReplicaState) -> None:
        check_transition(replica.state, state)
        replica.state = state
        replica.idle_since_us = None
        self._table.state_changed(replica)
        self._dispatcher.rearrange()
        self._changes.state(replica.flow)
        if state is ReplicaState.DRAINING:
            self._after_loss(replica.flow)

    def _after_loss(self, flow: FlowState) -> None:
        self._changes.state(flow)
        if not flow.live():
            self._dispatcher.strand(flow)

    async def _probe(self, replica: Replica, host: str, port: int, probe: Probe, *, measured: bool) -> None:
        settings = self._settings
        await wait_ready(host, port, probe, interval_s=settings.probe_interval_s, timeout_s=settings.probe_timeout_s)
        replica.probe_task = None
        if replica.state is not ReplicaState.STARTING:
            return
        now_us = self._clock_us()
        self._set_state(replica, ReplicaState.WARM)
        replica.ready_us = replica.idle_since_us = now_us
        self.metering.warm(replica, now_us)
        flow, took_us = replica.flow, now_us - replica.started_us
        if measured:
            self._predictions.observe_start(flow.function, flow.variant, took_us)
            self._sink.observe(m.START_SECONDS, took_us / 1e6, flow.namespace, flow.name, flow.variant.value)
        log.info("replica_warm", replica=replica.spec.id, start_ms=took_us // 1000, measured=measured)
        self._dispatcher.offer((replica.device,))

    def _end_probe(self, replica: Replica) -> None:
        if replica.probe_task is not None:
            replica.probe_task.cancel()
            replica.probe_task = None

    def _suspend(self, replica: Replica) -> None:
        """It refused a connection: give it no request for a moment, so that a dying replica does not eat the queue."""
        if not replica.suspended:
            replica.suspended = True
            self._table.refresh(replica)
            self._changes.touch(replica.flow)
            loop = asyncio.get_running_loop()
            loop.call_later(self._settings.replica_back_off_s, self._resume, replica)

    def _resume(self, replica: Replica) -> None:
        replica.suspended = False
        self._table.refresh(replica)
        self._changes.touch(replica.flow)
        self._dispatcher.offer((replica.device,))

    def _fail_running(self, replica: Replica, reason: Reason | None) -> None:
        why = f" ({reason.value})" if reason is not None else ""
        for call in tuple(replica.running):
            call.close_hop(Reason.REPLICA_FAILED, f"the replica's process ended{why}")
        self._close_pool(replica)

    def _close_pool(self, replica: Replica) -> None:
        pool, replica.pool = replica.pool, None
        if pool is not None:
            task = asyncio.get_running_loop().create_task(pool.close())
            self._closing_pools.add(task)
            task.add_done_callback(self._closing_pools.discard)
