"""What agents say in their load streams, by node: the fast facts of placement. Knows no connection."""

from msgspec import Struct

from stoker.model.function import Variant
from stoker.wire.agent import LoadFrame, VariantLoad


class OutOfStep(ValueError):  # noqa: N818  the name states the fact
    """A frame is missing: the stream must begin again."""


class _Agent(Struct):
    seq: int
    accepting: bool
    functions: dict[str, dict[Variant, VariantLoad]]


class LoadBoard:
    """The last word of each agent."""

    def __init__(self) -> None:
        self._agents: dict[str, _Agent] = {}

    def heard(self, node: str, frame: LoadFrame) -> None:
        """One frame. Raises OutOfStep where it does not follow the one before."""
        before = self._agents.get(node)
        if frame.full:
            self._agents[node] = _Agent(frame.seq, frame.accepting, dict(frame.functions))
            return
        if before is None or frame.seq != before.seq + 1:
            self._agents.pop(node, None)
            raise OutOfStep(f"frame {frame.seq} of the load of {node} does not follow the one before")
        before.seq = frame.seq
        before.accepting = frame.accepting
        before.functions.update(frame.functions)
        for key in frame.removed:
            before.functions.pop(key, None)

    def lost(self, node: str) -> None:
        """It says nothing any more."""
        self._agents.pop(node, None)

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
        best: tuple[float, int] | None = None
        for agent in self._agents.values():
            load = agent.functions.get(function, {}).get(variant)
            if load is not None and load.start_samples and (best is None or load.start_samples > best[1]):
                best = (load.start_ms, load.start_samples)
        return best
