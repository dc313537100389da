"""`GET /v1/load`: the agent's fast facts for gateways, as an endless stream of JSON lines (stoker.wire.agent).

A reader gets everything first, then what changed. One that reads too slowly is sent nothing until it has caught up,
and then everything again: what is kept for it never grows.
"""

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Protocol

import msgspec

from stoker.model.function import Variant
from stoker.policies.queueing.interface import QueuePolicy
from stoker.prediction import Predictions
from stoker.slots.load import load_of
from stoker.wire.agent import LOAD_HEARTBEAT_S, LoadFrame, VariantLoad
from stoker_node.replica_table import FlowState, ReplicaTable
from stoker_runtime.http_head import LAST_CHUNK, framed

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
_ENCODER = msgspec.json.Encoder()

_Loads = dict[Variant, VariantLoad]


class LoadReader(Protocol):
    """The connection of one reader."""

    write_paused: bool
    """More waits to be read than its buffer should hold."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class LoadStream:
    """All readers of one agent's load."""

    def __init__(
        self,
        table: ReplicaTable,
        predictions: Predictions,
        policy: Callable[[], QueuePolicy],
        clock_us: Callable[[], int],
    ) -> None:
        self._table = table
        self._predictions = predictions
        self._policy = policy
        self._clock_us = clock_us
        self._accepting = True
        self._seq = 0
        self._sent: dict[str, _Loads] = {}
        """What a reader knows that has read everything."""
        self._readers: set[LoadReader] = set()
        self._behind: set[LoadReader] = set()
        self._heartbeat: asyncio.TimerHandle | None = None

    def add(self, reader: LoadReader) -> None:
        # Those who listen already are brought to the same state, so that one delta then suits all. While nobody
        # listened nothing was followed: what was known then may be gone.
        frame = self._delta({flow.function for flow in self._table.flows.values()} | self._sent.keys())
        if frame is not None:
            self._publish(frame)
        self._readers.add(reader)
        reader.write(_HEAD + self._full())
        if self._heartbeat is None:
            self._heartbeat = asyncio.get_running_loop().call_later(LOAD_HEARTBEAT_S, self._beat)

    def remove(self, reader: LoadReader) -> None:
        self._readers.discard(reader)
        self._behind.discard(reader)
        if not self._readers and self._heartbeat is not None:
            self._heartbeat.cancel()
            self._heartbeat = None

    def caught_up(self, reader: LoadReader) -> None:
        """A reader that was behind can take more: all it missed is in the latest state."""
        if reader in self._behind:
            self._behind.discard(reader)
            reader.write(self._full())

    def changed(self, flows: dict[str, FlowState]) -> None:
        """Send what is different now of these flows."""
        if self._readers:
            frame = self._delta({flow.function for flow in flows.values()})
            if frame is not None:
                self._publish(frame)

    def stop_accepting(self) -> None:
        """Tell at once that no new requests are taken."""
        self._accepting = False
        self._publish(self._delta(set()) or LoadFrame(seq=self._next(), accepting=False))

    def close(self) -> None:
        """End every stream, so that readers see an end and not a broken connection."""
        for reader in tuple(self._readers):
            reader.write(LAST_CHUNK)
            reader.close()
            self.remove(reader)

    def _beat(self) -> None:
        self._heartbeat = asyncio.get_running_loop().call_later(LOAD_HEARTBEAT_S, self._beat)
        # Predicted waits change by the passing of time alone where something runs.
        policy = self._policy()
        busy = {flow.function for flow in self._table.flows.values() if flow.running or policy.queued(flow.key)}
        self._publish(self._delta(busy) or LoadFrame(seq=self._next(), accepting=self._accepting))

    def _delta(self, functions: AbstractSet[str]) -> LoadFrame | None:
        changed: dict[str, _Loads] = {}
        removed: list[str] = []
        for function in functions:
            loads = self._loads(function)
            if not loads and self._sent.pop(function, None) is not None:
                removed.append(function)
            elif loads and self._sent.get(function) != loads:
                self._sent[function] = changed[function] = loads
        if not changed and not removed:
            return None
        return LoadFrame(seq=self._next(), accepting=self._accepting, functions=changed, removed=tuple(sorted(removed)))

    def _full(self) -> bytes:
        frame = LoadFrame(seq=self._seq, full=True, accepting=self._accepting, functions=self._sent)
        return _chunk(frame)

    def _publish(self, frame: LoadFrame) -> None:
        chunk = _chunk(frame)
        for reader in self._readers:
            if reader in self._behind:
                continue
            if reader.write_paused:
                self._behind.add(reader)
            else:
                reader.write(chunk)

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _loads(self, function: str) -> _Loads:
        """Every variant of the function that exists or has something left here.

        A variant without replicas is told too: what it takes to start and to run is known, or assumed.
        """
        return {
            flow.variant: load_of(flow, self._policy(), self._predictions, self._clock_us())
            for flow in self._table.of_function(function)
            if flow.definition is not None or flow.replicas or flow.running or self._policy().queued(flow.key)
        }


def _chunk(frame: LoadFrame) -> bytes:
    return framed(_ENCODER.encode(frame) + b"\n")
