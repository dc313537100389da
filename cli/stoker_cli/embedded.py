"""The embedded platform: gateway, agent, reconciler, launcher and file store in one process, wired and ordered.

Knows how the parts are started, fed and ended, and nothing of terminals, signals and exit codes.
"""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from stoker.control.planning import PlanParams
from stoker.cost.minimum import over_bound
from stoker.decider import Decider
from stoker.decisions import RequestRecord
from stoker.errors import UnknownName
from stoker.metrics import OBJECTS_REJECTED
from stoker.model.device import Device
from stoker.model.fitting import unplaceable
from stoker.model.function import Function
from stoker.model.policy import Policy, default_policy
from stoker.replay.recorder import Recorder
from stoker.tickets import KEY_BYTES, TicketKeys
from stoker_cli.addresses import binding, check_free, reachable
from stoker_cli.banner import banner
from stoker_cli.containers.choosing import ChoosingLauncher
from stoker_cli.containers.gated_agent import GatedAgent
from stoker_cli.costs.cost_book import CostBook
from stoker_cli.describe import World, describe
from stoker_cli.launching import LauncherName, checked
from stoker_cli.object_changes import changes_between
from stoker_cli.objects.file_store import FileStore, ObjectError, StoreSnapshot
from stoker_cli.reconciler import Reconciler
from stoker_cli.records import Records
from stoker_cli.state_view import StateView
from stoker_cli.sweep import Sweep
from stoker_gateway.config import AgentAddress, GatewaySettings
from stoker_gateway.gateway import Gateway
from stoker_node.agent import Agent
from stoker_node.config import NodeSettings
from stoker_node.devices import DeviceProbe, DeviceWatch
from stoker_runtime.internal import Internal
from stoker_runtime.metrics import PrometheusSink
from stoker_runtime.mtls import make_authority
from stoker_runtime.settings import ProcessSettings, ServeSettings
from stoker_runtime.stopping import stop_part

log = structlog.get_logger(__name__)

STOP_MARGIN_S = 10.0
"""What a part gets beyond its drain before it is left behind: the end of the process ends it in any case."""
LEAST_GRACE_S = 2.0
"""What replicas get between SIGTERM and SIGKILL also when the drain has used up its time."""

_PUBLIC_ADVICE = "--port N, or --port 0 for a free one"
_INTERNAL_ADVICE = "--port N (the internal listener takes the port after it)"


class Settings(Struct, frozen=True, kw_only=True):
    """All settings of the process."""

    process: ProcessSettings = ProcessSettings()
    serve: ServeSettings = ServeSettings()
    node: NodeSettings = NodeSettings()
    gateway: GatewaySettings = GatewaySettings()


class Embedded:
    """Built, started once, stopped once. What start() began stop() ends, also after a start() that failed."""

    def __init__(
        self,
        *,
        paths: Sequence[Path],
        devices: Sequence[Device],
        probe: DeviceProbe | None,
        queueing: str | None,
        launcher: LauncherName,
        settings: Settings,
        clock_us: Callable[[], int],
        log_dir: Path,
        on_error: Callable[[ObjectError], object],
        recorder: Recorder | None = None,
        state_folder: Path | None = None,
    ) -> None:
        """`queueing` acts while no GpuPolicy is applied; None: the default policy's. `probe` is where the GPUs among
        `devices` come from, `log_dir` where the output of functions goes, `recorder` what writes the event log; None:
        there is none. `state_folder` is where account lines are kept over a restart.
        """
        self._state_folder = state_folder
        self.functions: dict[str, Function] = {}
        self.url = ""
        self.internal_url = ""
        self.draining = False
        self._devices = tuple(devices)
        self._log_dir = log_dir
        self._default_queueing = queueing
        self.policy: Policy | None = None
        """As applied from a file; None: there is none."""
        self.acts = default_policy()
        """What acts: that one, or the default."""
        self._queueing = queueing or self.acts.queueing
        self._settings = settings
        self._clock_us = clock_us
        self._started_us = clock_us()
        self._on_error = on_error
        self._begun: set[str] = set()
        self.sink = PrometheusSink(max_series=settings.process.max_series)
        self._sweep = Sweep(self.sink, self._alive)
        self.records = Records(settings.serve.records_kept)
        self._recorder = recorder
        decider = recorder or Decider()
        self.agent = Agent(
            devices=devices,
            clock_us=clock_us,
            metrics=self.sink,
            queueing=self._queueing,
            settings=settings.node,
            decider=decider,
        )
        self.gateway = Gateway(
            clock_us=clock_us,
            metrics=self.sink,
            settings=settings.gateway,
            on_record=self._on_record,
            why_waiting=self._why_waiting,
            decider=decider,
        )
        # One gateway seals and opens them, and nothing of them outlives it.
        self.gateway.set_ticket_keys(TicketKeys(secrets.token_bytes(KEY_BYTES)))
        self.costs = CostBook(self.agent.metering, self.agent.devices, self.agent.prediction(), clock_us)
        self.launcher = ChoosingLauncher(launcher, log_dir, clock_us)
        self.reconciler = Reconciler(
            agent=GatedAgent(self.agent, self.launcher),
            gateway=self.gateway,
            launcher=self.launcher,
            clock_us=clock_us,
            metrics=self.sink,
            params=PlanParams(quantum_us=round(settings.serve.quantum_s * 1_000_000)),
            decider=decider,
            costs=self.costs.costs,
            on_bounds=self.gateway.set_bounds,
        )
        self.launcher.on_note(self.reconciler.poke)
        self.store = FileStore(
            paths,
            on_change=self._on_store,
            on_error=self._on_bad_object,
            check=lambda function: checked(function, launcher, self._devices),
            beyond=lambda function, policy: over_bound(function, self._devices, policy),
        )
        self._watch = (
            None
            if probe is None
            else DeviceWatch(
                probe,
                [device for device in devices if device.id != "cpu"],
                self._on_devices,
                poll_s=settings.node.device_poll_s,
                stale_s=settings.node.device_stale_s,
            )
        )
        self.sink.inc(OBJECTS_REJECTED, amount=0)
        self.internal = Internal(
            metrics=self.sink.text,
            unready=self.unready,
            refresh=self.agent.metering.export,
            routes={
                "/v1/state": lambda _: self.view(),
                "/v1/cost": lambda _: self.costs.view(),
                # One under way goes first: a client may use an id again.
                "/v1/requests/{id}": lambda path: self.gateway.under_way(path["id"]) or self.records.get(path["id"]),
            },
        )

    async def check(self, host: str, port: int) -> None:
        """Raise CommandFailed where an address is taken already."""
        await asyncio.to_thread(check_free, host, port, _PUBLIC_ADVICE)
        if port:
            await asyncio.to_thread(check_free, "127.0.0.1", port + 1, _INTERNAL_ADVICE)

    async def load(self) -> None:
        """Read the files once. Nothing listens yet; what is wrong in them went to `on_error`."""
        self._begun.add("store")
        await self.store.start()

    async def start(self, host: str, port: int, *, mtls: bool) -> None:
        """Listen and serve. Raises CommandFailed for an address that cannot be had."""
        authority = await asyncio.to_thread(make_authority) if mtls else None
        server_ssl = await asyncio.to_thread(authority.server_context) if authority is not None else None
        client_ssl = await asyncio.to_thread(authority.client_context) if authority is not None else None
        self._begun.add("agent")
        await self.agent.start(ssl=server_ssl)
        agents = [AgentAddress("127.0.0.1", self.agent.port)]
        self._begun.add("gateway")
        with binding(host, port, _PUBLIC_ADVICE):
            await self.gateway.start(host, port, agents, agent_ssl=client_ssl)
        self.url = f"http://{reachable(host)}:{self.gateway.port}"
        internal_port = port + 1 if port else 0
        with binding("127.0.0.1", internal_port, _INTERNAL_ADVICE):
            await self.internal.start("127.0.0.1", internal_port)
        self.internal_url = f"http://127.0.0.1:{self.internal.port}"
        # A port that was given out by chance says nothing of who had it before.
        name = f"cost-{self.gateway.port}.jsonl"
        self._begun.add("costs")
        await self.costs.start(self._state_folder and self._state_folder / name, anew=not port)
        self._begun |= {"launcher", "reconciler"}
        await self.launcher.start()
        await self.reconciler.start()
        if self._watch is not None:
            self._begun.add("devices")
            self._watch.start()
        self._sweep.start()

    async def stop(self, drain_s: float) -> None:
        """Accept nothing new, finish what was accepted for `drain_s`, end every replica. Never raises."""
        begin_us = self._clock_us()
        self.draining = True

        def left_s() -> float:
            return max(0.0, drain_s - (self._clock_us() - begin_us) / 1_000_000)

        # Files no longer act. The reconciler still does: held requests need their replicas started.
        await asyncio.gather(
            self._end("store", self.store.stop, STOP_MARGIN_S),
            self._end("gateway", lambda: self.gateway.stop(drain_s=drain_s), drain_s + STOP_MARGIN_S),
        )
        await self._end("agent", lambda: self.agent.stop(drain_s=left_s()), left_s() + STOP_MARGIN_S)
        # Replicas get SIGTERM and the rest of the time; what is left then ends with the launcher.
        await self._end("reconciler", self.reconciler.stop, max(LEAST_GRACE_S, left_s()))
        await self.end_replicas()
        await self.internal.stop()

    async def end_replicas(self) -> None:
        """End every replica and its descendants. Never raises."""
        await self._sweep.stop()
        if self._watch is not None:
            await self._end("devices", self._watch.stop, STOP_MARGIN_S)
        await self._end("launcher", self.launcher.stop, STOP_MARGIN_S)
        await self._end("costs", self.costs.stop, STOP_MARGIN_S)

    async def _end(self, part: str, stop: Callable[[], Awaitable[None]], within_s: float) -> None:
        """Stop a part that was begun."""
        if part in self._begun:
            await stop_part(part, stop, within_s)

    def unready(self) -> str | None:
        """Why no request should be sent here now, in one sentence; None when all is well."""
        if self.draining:
            return "Stoker is draining: it finishes what it accepted and takes nothing new."
        if not self.url:
            return "The gateway does not listen yet."
        if not self.gateway.connected:
            return "The gateway has no fresh load stream of an agent."
        return None

    def banner(self) -> str:
        """What to tell the person who started it."""
        return banner(self.url, self.internal_url, self.functions, self.agent.devices(), self._log_dir)

    def view(self) -> StateView:
        """What `/v1/state` shows."""
        return describe(
            World(
                pid=os.getpid(),
                url=self.url,
                uptime_us=self._clock_us() - self._started_us,
                policy=msgspec.structs.replace(self.acts, queueing=self._queueing),
                draining=self.draining,
                functions=self.functions,
                statuses=self.reconciler.statuses(),
                replicas=self.agent.replicas(),
                devices=self.agent.devices(),
                reservations=self.agent.reservations(),
                demand=self.gateway.demand(),
                queued=self.agent.queued(),
                prediction=self.agent.prediction(),
                costs=self.costs.states(),
                cost_warnings=self.costs.warnings_of,
                records=self.records,
            )
        )

    def _on_store(self, snapshot: StoreSnapshot) -> None:
        """New objects act, all in one turn of the loop: no part sees a function that another does not know."""
        before = self.functions
        self.functions = dict(snapshot.functions)
        self._sweep.functions_are(self.functions)
        self.records.track(set(self.functions))
        self._set_policy(snapshot.policy)
        self.agent.set_functions(self.functions)
        self.gateway.set_unplaceable(unplaceable(self.functions.values(), self._devices))
        self.gateway.set_functions(self.functions)
        self.costs.set_functions(self.functions)
        self.reconciler.set_functions(self.functions)
        kept = before.keys() & self.functions.keys()
        changes = {
            "added": sorted(self.functions.keys() - kept),
            "changed": sorted(key for key in kept if before[key].spec != self.functions[key].spec),
            "removed": sorted(before.keys() - kept),
        }
        if self.url and any(changes.values()):
            log.info("functions_changed", **changes)

    def _set_policy(self, policy: Policy | None) -> None:
        if self.url and policy is not None and policy != self.policy:
            for warning in self.warnings(policy):
                log.warning("policy_does_not_act", name=policy.name, detail=warning)
        self.policy = policy
        before, self.acts = self.acts, policy or default_policy()
        self.reconciler.set_policy(self.acts)
        self.agent.set_shares(self.acts)
        self.costs.set_policy(self.acts)
        self.gateway.set_policy(self.acts)
        self._set_queueing((self._default_queueing if policy is None else None) or self.acts.queueing)
        if self.url and self.acts != before:
            log.info("policy_changed", **changes_between(before, self.acts))

    def warnings(self, policy: Policy) -> tuple[str, ...]:
        """What of a policy, and of the command line beside it, does not act; one sentence each."""
        said = self._default_queueing
        if said is None or said == policy.queueing:
            return policy.warnings
        beside = f"--queueing {said} does not act while this GpuPolicy is applied: it says {policy.queueing}"
        return (*policy.warnings, f"{beside} (spec.queueing, or else its profile).")

    def _set_queueing(self, name: str) -> None:
        if name == self._queueing:
            return
        try:
            self.agent.set_queueing(name)
        except UnknownName as err:
            log.warning("queueing_unknown", name=name, kept=self._queueing, error=str(err))
            return
        log.info("queueing_exchanged", before=self._queueing, after=name)
        self._queueing = name

    def _on_record(self, record: RequestRecord) -> None:
        self.records.add(record)
        if self._recorder is not None:
            self._recorder.ended(record)

    def _why_waiting(self, key: str) -> str:
        return self.reconciler.why_waiting(key)

    def _on_bad_object(self, error: ObjectError) -> None:
        self.sink.inc(OBJECTS_REJECTED)
        self._on_error(error)

    def _on_devices(self, devices: tuple[Device, ...]) -> None:
        kept = [device for device in self._devices if device.id == "cpu"]
        for device in devices:
            if not device.healthy:
                log.warning("device_unhealthy", device=device.label, reason=device.reason)
        self.agent.set_devices((*devices, *kept))

    def _alive(self) -> set[str]:
        """Functions that something of is left."""
        return {status.spec.function for status in self.agent.replicas()} | self.gateway.demand().keys()
