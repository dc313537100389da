"""What agents say in their load streams, by node: the fast facts of placement. Knows no connection.

An agent is a pod: during an upgrade a node has two, one of which has not begun to speak, or has ended.
"""

from msgspec import Struct

from stoker.model.function import Variant
from stoker.wire.agent import LoadFrame, VariantLoad

Pair = tuple[str, Variant]


class OutOfStep(ValueError):  # noqa: N818  the name states the fact
    """A frame is missing: the stream must begin again."""


class _Agent(Struct):
    pod: str
    seq: int
    accepting: bool
    functions: dict[str, dict[Variant, VariantLoad]]


class LoadBoard:
    """The last word of the agent of each node."""

    def __init__(self) -> None:
        self._agents: dict[str, _Agent] = {}
        self._measured: dict[Pair, dict[str, tuple[float, int]]] = {}
        """Start-up by node, where it was measured."""
        self._most_measured: dict[Pair, tuple[float, int]] = {}
        """The answers to measured_start_ms, which is asked for each node of each scoring, until a pair changes."""

    def heard(self, node: str, frame: LoadFrame, pod: str = "") -> None:
        """One frame. Raises OutOfStep where it does not follow the one before."""
        before = self._agents.get(node)
        if frame.full:
            self._forget(node)
            self._agents[node] = _Agent(pod, frame.seq, frame.accepting, dict(frame.functions))
            self._measure(node, frame)
            return
        if before is None or before.pod != pod or frame.seq != before.seq + 1:
            self.lost(node, pod)
            raise OutOfStep(f"frame {frame.seq} of the load of {node} does not follow the one before")
        before.seq = frame.seq
        before.accepting = frame.accepting
        before.functions.update(frame.functions)
        self._measure(node, frame)
        for key in frame.removed:
            for variant in before.functions.pop(key, {}):
                self._unmeasure(node, (key, variant))

    def lost(self, node: str, pod: str = "") -> None:
        """That agent says nothing any more."""
        agent = self._agents.get(node)
        if agent is not None and agent.pod == pod:
            self._forget(node)

    def speaks(self, node: str) -> bool:
        """Whether the agent of the node speaks, and accepts requests."""
        agent = self._agents.get(node)
        return agent is not None and agent.accepting

    def heard_of(self) -> int:
        """How many agents speak."""
        return len(self._agents)

    def load(self, node: str, function: str, variant: Variant) -> VariantLoad | None:
        """What the agent of a node says of a function."""
        agent = self._agents.get(node)
        return None if agent is None else agent.functions.get(function, {}).get(variant)

    def warm(self, node: str) -> frozenset[str]:
        """Functions with a warm replica on the node."""
        agent = self._agents.get(node)
        if agent is None:
            return frozenset()
        return frozenset(
            key for key, variants in agent.functions.items() if any(load.warm for load in variants.values())
        )

    def measured_start_ms(self, function: str, variant: Variant) -> tuple[float, int] | None:
        """Start-up as measured by the agent with most samples, and how many; None where nobody measured."""
        pair = (function, variant)
        if pair not in self._measured:
            return None
        if pair not in self._most_measured:
            self._most_measured[pair] = max(self._measured[pair].values(), key=lambda entry: entry[1])
        return self._most_measured[pair]

    def _forget(self, node: str) -> None:
        agent = self._agents.pop(node, None)
        if agent is not None:
            for key, variants in agent.functions.items():
                for variant in variants:
                    self._unmeasure(node, (key, variant))

    def _measure(self, node: str, frame: LoadFrame) -> None:
        for key, variants in frame.functions.items():
            for variant in Variant:
                load = variants.get(variant)
                if load is not None and load.start_samples:
                    self._measured.setdefault((key, variant), {})[node] = (load.start_ms, load.start_samples)
                    self._most_measured.pop((key, variant), None)
                else:
                    self._unmeasure(node, (key, variant))

    def _unmeasure(self, node: str, pair: Pair) -> None:
        measured = self._measured.get(pair)
        if measured is not None and measured.pop(node, None) is not None:
            self._most_measured.pop(pair, None)
            if not measured:
                del self._measured[pair]
