"""What the agents report of their replicas: the newest snapshot of each, by pod and by node. Knows no connection."""

from collections.abc import Iterable

from msgspec import Struct

from stoker.model.function import Variant
from stoker.sizing.service_time import ServiceTime, pooled_by_pair
from stoker.wire.cluster import ProfileReport, ReplicaFrame, ReplicaReport

SAME_START_US = 2_000_000
"""Starts that are told this near to one another are one start: reports take differently long to come."""


class Heard(Struct, frozen=True):
    """A report and when it came; its ages count back from then."""

    report: ReplicaReport
    node: str
    at_us: int
    started_us: int = 0
    """The same in all reports of one start, which is told from others by it."""


class AgentBoard:
    """Times are microseconds on the operator's monotonic clock. Agents are known by their node."""

    def __init__(self) -> None:
        self._frames: dict[str, tuple[ReplicaFrame, int]] = {}
        self._speakers: dict[str, str] = {}
        """By node, the agent (its pod) that spoke last: during an upgrade a node has two, one of which is silent."""
        self._lost_us: dict[str, int] = {}
        self._gone: set[str] = set()
        """Nodes that are no more and whose agents are still there: the last that they say counts for nothing."""
        self._by_pod: dict[str, Heard] = {}
        self.returns = 0
        """How often an agent began to speak, or spoke again after a silence."""

    def heard(self, node: str, frame: ReplicaFrame, now_us: int, agent: str = "") -> None:
        """The newest snapshot of one agent."""
        if node in self._gone:
            return
        if not self.is_speaking(node):
            self.returns += 1
        before = self._forget_pods(node)
        self._speakers[node] = agent
        self._frames[node] = (frame, now_us)
        self._lost_us.pop(node, None)
        for report in frame.replicas:
            started_us = now_us - report.started_ms * 1_000
            last = before.get(report.pod_uid)
            if last is not None and abs(last.started_us - started_us) < SAME_START_US:
                started_us = last.started_us
            self._by_pod[report.pod_uid] = Heard(report, node, now_us, started_us)

    def lost(self, node: str, now_us: int, agent: str = "") -> None:
        """It says nothing any more. Its last word on replicas stands: they go on running without it."""
        if node in self._frames and self._speakers.get(node) == agent:
            self._lost_us.setdefault(node, now_us)

    def here(self, node: str) -> None:
        """There is a node of that name (again)."""
        self._gone.discard(node)

    def gone(self, node: str) -> None:
        """The node is no more."""
        self._gone.add(node)
        self._forget_pods(node)
        self._frames.pop(node, None)
        self._speakers.pop(node, None)
        self._lost_us.pop(node, None)

    def keep_only(self, nodes: Iterable[str]) -> None:
        """These have agents; of nodes that went long ago nothing is remembered."""
        self._gone &= set(nodes)

    def report(self, pod_uid: str) -> Heard | None:
        """The last word on a pod."""
        return self._by_pod.get(pod_uid)

    def last(self, node: str) -> ReplicaFrame | None:
        """The last snapshot of an agent."""
        entry = self._frames.get(node)
        return None if entry is None else entry[0]

    def knows(self, node: str) -> bool:
        """Whether its agent has ever spoken."""
        return node in self._frames

    def is_speaking(self, node: str) -> bool:
        """Whether its agent speaks now."""
        return node in self._frames and node not in self._lost_us

    def speaker(self, node: str) -> str:
        """The agent (its pod) that speaks for the node now; empty while none does."""
        return self._speakers[node] if self.is_speaking(node) else ""

    def silent_us(self, node: str, now_us: int) -> int:
        """For how long it has said nothing; 0 while it speaks, or when it never did."""
        return now_us - self._lost_us.get(node, now_us)

    def queued(self) -> dict[str, dict[Variant, int]]:
        """Requests that wait at agents that speak."""
        found: dict[str, dict[Variant, int]] = {}
        for node, (frame, _) in self._frames.items():
            if node in self._lost_us:
                continue
            for key, variants in frame.queued.items():
                of_function = found.setdefault(key, {})
                for variant, count in variants.items():
                    of_function[variant] = of_function.get(variant, 0) + count
        return found

    def start_us(self) -> dict[str, dict[Variant, int]]:
        """Measured start-up; the longest where nodes differ, since a turn must not be shorter than a start."""
        found: dict[str, dict[Variant, int]] = {}
        for frame, _ in self._frames.values():
            for key, variants in frame.start_ms.items():
                of_function = found.setdefault(key, {})
                for variant, took_ms in variants.items():
                    of_function[variant] = max(took_ms * 1_000, of_function.get(variant, 0))
        return found

    def exec_us(self) -> dict[str, dict[Variant, int]]:
        """Measured execution times: the longest median where products differ, so that no slack is overstated."""
        found: dict[str, dict[Variant, int]] = {}
        for frame, _ in self._frames.values():
            for key, profiles in frame.profiles.items():
                of_function = found.setdefault(key, {})
                for profile in profiles:
                    median_us = round(profile.p50_ms * 1_000)
                    of_function[profile.variant] = max(median_us, of_function.get(profile.variant, 0))
        return found

    def service(self) -> dict[str, dict[Variant, ServiceTime]]:
        """Mean and spread of execution times over all nodes and products; of agents that tell it."""
        found: dict[str, dict[Variant, list[ServiceTime]]] = {}
        for frame, _ in self._frames.values():
            for key, profiles in frame.profiles.items():
                for profile in profiles:
                    if profile.mean_ms is not None and profile.samples:
                        part = ServiceTime(
                            mean_us=max(1, round(profile.mean_ms * 1_000)),
                            deviation_us=round(profile.deviation_ms * 1_000),
                            samples=profile.samples,
                        )
                        found.setdefault(key, {}).setdefault(profile.variant, []).append(part)
        return pooled_by_pair(found)

    def costs(self) -> dict[str, ReplicaFrame]:
        """The last snapshots that tell of costs, by agent: one that comes after another on its node is another one."""
        found = {f"{node}/{self._speakers[node]}": frame for node, (frame, _) in self._frames.items()}
        return {agent: frame for agent, frame in found.items() if frame.costs}

    def profiles(self) -> dict[str, list[ProfileReport]]:
        """Run times by function, as each agent has measured them."""
        found: dict[str, list[ProfileReport]] = {}
        for frame, _ in self._frames.values():
            for key, profiles in frame.profiles.items():
                found.setdefault(key, []).extend(profiles)
        return found

    def _forget_pods(self, node: str) -> dict[str, Heard]:
        """What was known of them."""
        known: dict[str, Heard] = {}
        before = self._frames.get(node)
        for report in before[0].replicas if before is not None else ():
            heard = self._by_pod.get(report.pod_uid)
            if heard is not None and heard.node == node:
                known[report.pod_uid] = self._by_pod.pop(report.pod_uid)
        return known
