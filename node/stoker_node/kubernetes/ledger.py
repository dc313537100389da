"""The status of this node's FunctionNode: what it says, and when it is written.

Written by server-side apply, seldom (stoker.wire.function_node.needs_write): placement, users and recovery read it,
nobody who is in a hurry. The operator creates the object; until then, and whenever the API server is away, the agent
goes on without.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any, Protocol

import structlog

from stoker.model.device import Device
from stoker.wire.cluster import ReplicaReport
from stoker.wire.function_node import (
    AgentStatus,
    DeviceStatus,
    FunctionNodeStatus,
    ImageStatus,
    NodeCondition,
    ResidentStatus,
    device_status,
    encode_status,
    needs_write,
    quantise,
)
from stoker_node.kubernetes.tracked import Tracked
from stoker_runtime.background import Background
from stoker_runtime.kube.backoff import Backoff
from stoker_runtime.kube.errors import KubeError, NotFound
from stoker_runtime.kube.objects import Seen
from stoker_runtime.own_kinds import FUNCTION_NODES

log = structlog.get_logger(__name__)

MANAGER = "stoker-node"
_LOOK_S = 1.0
"""What was not worth a write a moment ago may be by now."""
_PENDING_S = 0.25
"""The same while something waits to be written."""
_LAST_S = 2.0
"""An agent that ends waits no longer for its last word: the node's next agent waits for its end."""
_PAUSE_S = 0.1
"""Requests change what the status is made of all the time: it is not made more often than this."""


def device_statuses(devices: Iterable[Device], used_mib: Mapping[str, int]) -> tuple[DeviceStatus, ...]:
    """The devices, with the memory that was measured last."""
    return tuple(
        device_status(
            device, used_memory_mib=used_mib.get(device.id, 0), reason=device.fault.value if device.fault else ""
        )
        for device in devices
    )


def residents(tracked: Iterable[Tracked], reports: Iterable[ReplicaReport]) -> tuple[ResidentStatus, ...]:
    """The pods of functions on this node."""
    by_uid = {report.pod_uid: report for report in reports}
    return tuple(
        ResidentStatus(
            namespace=one.pod.namespace,
            pod=one.pod.name,
            pod_uid=one.pod.uid,
            function=one.pod.replica.function.partition("/")[2],
            revision=one.pod.replica.revision,
            variant=one.pod.replica.variant,
            devices=one.cards or (),
            state=by_uid[one.pod.uid].state,
            memory_mib=max((part.memory_mib for part in one.parts), default=0),
        )
        for one in tracked
        if one.pod.uid in by_uid
    )


def status_of(
    *,
    agent: AgentStatus,
    devices: tuple[DeviceStatus, ...],
    residents: tuple[ResidentStatus, ...],
    images: tuple[ImageStatus, ...],
    condition: NodeCondition,
    generation: int,
) -> FunctionNodeStatus:
    """The whole status, as it may be compared with another."""
    return quantise(
        FunctionNodeStatus(
            agent=agent,
            devices=devices,
            residents=residents,
            images=images,
            conditions=(condition,),
            observed_generation=generation,
        )
    )


class Applier(Protocol):
    """What agents need of a KubeClient to write."""

    async def apply(
        self,
        resource: Any,
        name: str,
        body: Any,
        namespace: str = "",
        *,
        manager: str,
        force: bool = False,
        subresource: Any = "",
        seen: Any = None,
    ) -> Any: ...


class Ledger:
    """`start()`; `changed()` at any time; `await stop()`."""

    def __init__(
        self,
        kube: Applier,
        node: str,
        status: Callable[[], FunctionNodeStatus | None],
        *,
        clock_us: Callable[[], int],
        backoff: Backoff | None = None,
        look_s: float = _LOOK_S,
        rng: Random | None = None,
    ) -> None:
        """`status`: None while there is nothing yet that could be said; then nothing is written."""
        self._kube = kube
        self._node = node
        self._status = status
        self._clock_us = clock_us
        self._backoff = backoff or Backoff(first_s=0.5, most_s=15.0)
        self._look_s = look_s
        self._rng = rng or Random()  # noqa: S311  jitter, no secret
        self._news = asyncio.Event()
        self._appeared = asyncio.Event()
        """Another object than before: what failed may go well now."""
        self._task = Background("function-node")
        self._written: FunctionNodeStatus | None = None
        self._written_us: int | None = None
        self._seen: Seen | None = None
        """The object as our own last write left it."""
        self._failures = 0
        self._pending = False
        """The status is not what was written."""
        self.writes = 0
        self.problem = ""
        """Why the last write failed, in one sentence; empty when it did not."""

    def start(self) -> None:
        self._task.start(self._run)

    async def stop(self) -> None:
        """End, after one last write of what is true now if that is different: it waits for no turn and at most
        _LAST_S. Where the object has changed since our own last write, the node's next agent has it, and it stays.
        """
        await self._task.stop()
        try:
            status = self._status()
            if status is None or self._seen is None or status == self._written:
                return
            async with asyncio.timeout(_LAST_S):
                await self._write(status, self._seen)
        except (KubeError, TimeoutError) as err:
            log.warning("ledger_last_word_not_written", node=self._node, error=str(err) or f"not within {_LAST_S:g} s")
        except Exception:
            log.exception("ledger_failed")

    def changed(self) -> None:
        """Something that the status tells may be different."""
        self._news.set()

    def object_is(self, uid: str) -> None:
        """The object that exists now. Another one than was written to has no status yet."""
        if self._seen is None or uid != self._seen.uid:
            self._written = self._written_us = self._seen = None
            self._news.set()
            self._appeared.set()

    async def _run(self) -> None:
        while True:
            self._news.clear()
            failed = not await self._write_if_due()
            if failed:
                self._appeared.clear()
                pause_s = self._backoff.pause_s(self._failures, self._rng)
                self._failures += 1
                await _wait(self._appeared, pause_s)
                continue
            self._failures = 0
            look_s = min(self._look_s, _PENDING_S) if self._pending else self._look_s
            await asyncio.sleep(min(look_s, _PAUSE_S))
            await _wait(self._news, look_s - _PAUSE_S)

    async def _write_if_due(self) -> bool:
        """False when a write was due and failed."""
        try:
            status = self._status()
            self._pending = status != self._written
            if status is None or not needs_write(self._written, status, self._written_us, self._clock_us()):
                return True
            await self._write(status, None)
        except NotFound:
            self._say(
                "ledger_object_missing", f"The FunctionNode {self._node} does not exist (yet): the operator makes it."
            )
            return False
        except KubeError as err:
            self._say("ledger_not_written", f"The FunctionNode {self._node} cannot be written: {err}")
            return False
        except Exception:
            # A mistake of ours must not end the writer: the next status is looked at afresh.
            log.exception("ledger_failed")
            return False
        return True

    async def _write(self, status: FunctionNodeStatus, seen: Seen | None) -> None:
        now_us = self._clock_us()
        body = encode_status(self._node, status)
        answer = await self._kube.apply(
            FUNCTION_NODES, self._node, body, manager=MANAGER, force=True, subresource="status", seen=seen
        )
        self._written, self._written_us, self._seen = status, now_us, Seen.of(answer, unchanged=True)
        self._pending = False
        self.writes += 1
        self.problem = ""

    def _say(self, event: str, problem: str) -> None:
        if problem != self.problem:
            log.warning(event, problem=problem)
        self.problem = problem


async def _wait(event: asyncio.Event, within_s: float) -> None:
    # Not asyncio.wait_for: until Python 3.12 it swallows a cancellation that comes together with the event.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, within_s)):
            await event.wait()
