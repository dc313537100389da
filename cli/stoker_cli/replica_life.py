"""The lives of replicas in embedded mode: agent and launcher brought together, step by step, one task per step.

start: agent.reserve -> launcher.launch -> agent.attach; end: agent.drain -> launcher.terminate -> agent.detach.
Each step may fail, hang or be overtaken by the end of the process; a replica's devices are released exactly when its
process is gone. What is started or ended, and why, is decided by plan().
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import structlog

from stoker.control.planning import Drain, Failure, Kill, Start, Stop
from stoker.metrics import REPLICA_DRAINS, MetricsSink
from stoker.model.device import Device, Reservation
from stoker.model.function import Function, Probe
from stoker.model.replica import ReplicaSpec, ReplicaStatus
from stoker.reasons import Reason
from stoker_cli.processes.launcher import ExitInfo
from stoker_cli.processes.replica_command import LaunchFailed, LaunchGivenUp

HOST = "127.0.0.1"
SHOWN_LINES = 5
SHOWN_CHARS = 600

log = structlog.get_logger(__name__)


class AgentLives(Protocol):
    """What of the agent is needed here."""

    def devices(self) -> tuple[Device, ...]: ...
    def replicas(self) -> tuple[ReplicaStatus, ...]: ...
    def reserve(self, spec: ReplicaSpec, reservations: Sequence[Reservation]) -> Reason | None: ...
    def attach(self, replica_id: str, host: str, port: int, readiness: Probe) -> None: ...
    async def drain(self, replica_id: str) -> None: ...
    def detach(self, replica_id: str, reason: Reason | None = None) -> None: ...


class Launcher(Protocol):
    """How processes are started and ended. `launch` raises with a sentence; `terminate` returns when all is gone.

    A launch may take long (an image is pulled): `give_up` makes one that still goes on raise LaunchGivenUp soon.
    """

    on_exit: Callable[[str, ExitInfo], None]

    async def launch(self, replica: ReplicaSpec, function: Function, devices: Sequence[Device]) -> int: ...
    def give_up(self, replica_id: str) -> None: ...
    async def terminate(self, replica_id: str, grace_us: int) -> None: ...


class _Life:
    """One replica from its reservation until its process is gone."""

    def __init__(self, spec: ReplicaSpec, function: Function | None) -> None:
        self.spec = spec
        self.function = function
        self.starting: asyncio.Task[None] | None = None
        self.ending: asyncio.Task[None] | None = None
        self.killing: asyncio.Task[None] | None = None
        self.kill_reason: Reason | None = None
        self.asked_to_end = False
        """SIGTERM was sent, or is about to be: its exit is no failure."""
        self.exit: ExitInfo | None = None

    @property
    def is_leaving(self) -> bool:
        return self.ending is not None or self.killing is not None

    @property
    def grace_us(self) -> int:
        return 0 if self.function is None else self.function.container_of(self.spec.variant).termination_grace_us


class ReplicaLives:
    """Carries out the actions of plans, and collects the failures that the next plan must know."""

    def __init__(
        self,
        *,
        agent: AgentLives,
        launcher: Launcher,
        clock_us: Callable[[], int],
        metrics: MetricsSink,
        changed: Callable[[], None],
    ) -> None:
        self.failures: list[Failure] = []
        self._agent = agent
        self._launcher = launcher
        self._clock_us = clock_us
        self._metrics = metrics
        self._changed = changed
        self._lives: dict[str, _Life] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        launcher.on_exit = self._on_exit

    def leaving(self) -> frozenset[str]:
        """Ids that are on their way out; they may not be used again yet."""
        return frozenset(identity for identity, life in self._lives.items() if life.is_leaving)

    def killed(self) -> frozenset[str]:
        return frozenset(identity for identity, life in self._lives.items() if life.killing is not None)

    def act(self, action: Start | Drain | Stop | Kill) -> bool:
        """Begin one action; returns at once. False: it could not begin now and must be planned again."""
        if isinstance(action, Start):
            return self._begin(action)
        life = self._life_of(action.replica_id)
        if life is None:
            return True  # it is gone already
        if isinstance(action, Kill):
            if life.killing is None:
                log.warning("replica_killed", replica=life.spec.id, reason=action.reason.value, detail=action.detail)
                life.kill_reason = action.reason
                life.killing = self._spawn(self._kill(life, action))
        elif life.ending is None and life.killing is None:
            if isinstance(action, Drain):
                self._count_drain(life.spec, action.reason)
                log.info(
                    "replica_draining",
                    replica=life.spec.id,
                    reason=action.reason.value,
                    gives_way_to=action.for_function,
                )
            life.ending = self._spawn(self._end(life))
        return True

    async def end_all(self) -> None:
        """Drain and end every replica. Cancelled: nothing goes on in the background."""
        try:
            for life in list(self._lives.values()):
                self.act(Drain(replica_id=life.spec.id, reason=Reason.SHUTDOWN))
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()

    def _begin(self, action: Start) -> bool:
        spec = action.spec
        if spec.id in self._lives:
            return False
        refused = self._agent.reserve(spec, action.reservations)
        if refused is not None:
            log.warning("reservation_refused", replica=spec.id, devices=spec.devices, reason=refused.value)
            return False
        life = self._lives[spec.id] = _Life(spec, action.function)
        log.info("replica_starting", replica=spec.id, devices=spec.devices)
        life.starting = self._spawn(self._start(life, action.function))
        return True

    def _life_of(self, identity: str) -> _Life | None:
        life = self._lives.get(identity)
        if life is None:
            # The agent knows a replica that nobody here started or whose end failed half-way.
            status = next((r for r in self._agent.replicas() if r.spec.id == identity), None)
            if status is not None:
                life = self._lives[identity] = _Life(status.spec, None)
        return life

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _start(self, life: _Life, function: Function) -> None:
        spec = life.spec
        devices = [device for device in self._agent.devices() if device.id in spec.devices]
        try:
            port = await self._launcher.launch(spec, function, devices)
        except LaunchGivenUp:
            self._gone(life, life.kill_reason)
            return
        except Exception as error:  # noqa: BLE001  whatever a launcher raises is a failed start of this replica only
            reason = error.reason if isinstance(error, LaunchFailed) else Reason.START_FAILED
            self._lost(life, reason, str(error) or type(error).__name__)
            return
        if life.exit is None and not life.is_leaving:
            self._agent.attach(spec.id, HOST, port, function.container_of(spec.variant).readiness)

    async def _end(self, life: _Life) -> None:
        identity = life.spec.id
        try:
            await self._started(life)
            if identity not in self._lives:
                return  # it never came to run
            await self._agent.drain(identity)
            life.asked_to_end = True
            await self._launcher.terminate(identity, life.grace_us)
        except Exception:
            # Its process may still run: the devices stay its own, and the next plan orders a Stop.
            log.exception("replica_end_failed", replica=identity)
            life.ending = None
            return
        self._gone(life, None)

    async def _kill(self, life: _Life, action: Kill) -> None:
        identity = life.spec.id
        try:
            await self._started(life)
            life.asked_to_end = True
            await self._launcher.terminate(identity, 0)
        except Exception:
            log.exception("replica_kill_failed", replica=identity)
            life.killing = None
            return
        output = life.exit.output if life.exit is not None else ()
        self._fail(life, action.reason, action.detail, output, amends=True)
        self._gone(life, action.reason)

    async def _started(self, life: _Life) -> None:
        """Wait until the launch has come to its end, well or not: only then can its process be ended."""
        if life.starting is not None and not life.starting.done():
            self._launcher.give_up(life.spec.id)
            await asyncio.wait({life.starting})

    def _on_exit(self, identity: str, info: ExitInfo) -> None:
        """A process has ended. Called by the launcher exactly once for each that ran."""
        life = self._lives.get(identity)
        if life is None:
            return
        life.exit = info
        if life.asked_to_end:
            # Whoever asked goes on. The agent must know now, so that what it still ran there ends.
            self._agent.detach(identity, life.kill_reason)
            if not life.is_leaving:
                self._gone(life, life.kill_reason)  # whoever asked had given up
            return
        ready = self._ready_us(identity) is not None
        reason = info.reason
        if reason is Reason.REPLICA_FAILED and not ready:
            reason = Reason.START_FAILED
        self._lost(life, reason, info.detail, info.output)

    def _lost(self, life: _Life, reason: Reason, detail: str, output: Sequence[str] = ()) -> None:
        """It failed by itself."""
        self._fail(life, reason, detail, output)
        self._gone(life, reason)

    def _fail(self, life: _Life, reason: Reason, detail: str, output: Sequence[str], *, amends: bool = False) -> None:
        now_us, spec = self._clock_us(), life.spec
        ready_us = self._ready_us(spec.id)
        sentence = _with_output(detail, output)
        log.warning("replica_failed", replica=spec.id, reason=reason.value, detail=sentence)
        self.failures.append(
            Failure(
                function=spec.function,
                variant=spec.variant,
                revision=spec.revision,
                replica_id=spec.id,
                at_us=now_us,
                reason=reason,
                detail=sentence,
                warm_us=None if ready_us is None else now_us - ready_us,
                amends=amends,
            )
        )

    def _gone(self, life: _Life, reason: Reason | None) -> None:
        """The process is gone: release what the replica held, once."""
        if self._lives.get(life.spec.id) is not life:
            return
        del self._lives[life.spec.id]
        self._agent.detach(life.spec.id, reason)
        log.info("replica_gone", replica=life.spec.id)
        self._changed()

    def _ready_us(self, identity: str) -> int | None:
        return next((r.ready_us for r in self._agent.replicas() if r.spec.id == identity), None)

    def _count_drain(self, spec: ReplicaSpec, reason: Reason) -> None:
        namespace, _, name = spec.function.partition("/")
        self._metrics.inc(REPLICA_DRAINS, namespace, name, spec.variant.value, reason.value)


def _with_output(detail: str, output: Sequence[str]) -> str:
    lines = [line.strip() for line in output if line.strip()][-SHOWN_LINES:]
    return f"{detail}; its last output: {' | '.join(lines)[-SHOWN_CHARS:]}" if lines else detail
