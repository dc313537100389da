"""The agent as the reconciler sees it where replicas may be containers: starts have reasons, and ports are no proof.

A pull is told as the reason why a replica is not warm, and its time is not the program's start-up timeout's. A replica
is handed to the agent's probe only when its program listens: an engine's proxy accepts connections before that.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from stoker.model.device import Device, Reservation
from stoker.model.function import Probe, Variant
from stoker.model.replica import ReplicaSpec, ReplicaState, ReplicaStatus
from stoker.prediction import Predictions
from stoker.reasons import Reason
from stoker_cli.containers.launcher import StartNote
from stoker_cli.reconciler import AgentControl


class Starts(Protocol):
    """What of the launcher is needed here."""

    def notes(self) -> Mapping[str, StartNote]: ...
    async def listens(self, replica_id: str) -> None: ...


class GatedAgent:
    """See the module."""

    def __init__(self, agent: AgentControl, starts: Starts) -> None:
        self._agent = agent
        self._starts = starts
        self._gates: dict[str, asyncio.Task[None]] = {}

    def replicas(self) -> tuple[ReplicaStatus, ...]:
        notes = self._starts.notes()
        return tuple(_noted(status, notes.get(status.spec.id)) for status in self._agent.replicas())

    def attach(self, replica_id: str, host: str, port: int, readiness: Probe) -> None:
        async def when_it_listens() -> None:
            await self._starts.listens(replica_id)
            if self._gates.get(replica_id) is task:
                del self._gates[replica_id]
                self._agent.attach(replica_id, host, port, readiness)

        if replica_id not in self._starts.notes():
            self._agent.attach(replica_id, host, port, readiness)
            return
        task = self._gates[replica_id] = asyncio.create_task(when_it_listens(), name=f"gate {replica_id}")

    async def drain(self, replica_id: str) -> None:
        self._close(replica_id)
        await self._agent.drain(replica_id)

    def detach(self, replica_id: str, reason: Reason | None = None) -> None:
        self._close(replica_id)
        self._agent.detach(replica_id, reason)

    def _close(self, replica_id: str) -> None:
        gate = self._gates.pop(replica_id, None)
        if gate is not None:
            gate.cancel()

    def devices(self) -> tuple[Device, ...]:
        return self._agent.devices()

    def reservations(self) -> tuple[Reservation, ...]:
        return self._agent.reservations()

    def reserve(self, spec: ReplicaSpec, reservations: Sequence[Reservation]) -> Reason | None:
        return self._agent.reserve(spec, reservations)

    def queued(self) -> dict[str, dict[Variant, int]]:
        return self._agent.queued()

    def prediction(self) -> Predictions:
        return self._agent.prediction()

    def on_change(self, callback: Callable[[], None]) -> None:
        self._agent.on_change(callback)


def _noted(status: ReplicaStatus, note: StartNote | None) -> ReplicaStatus:
    if note is None or status.state is not ReplicaState.STARTING:
        return status
    return replace(
        status, started_us=status.started_us + note.waited_us, waiting=note.reason, waiting_detail=note.detail
    )
