"""One replica pod as PodSync follows it, and what the operator is told of it. Decides nothing."""

import asyncio

from stoker.model.device import Reservation
from stoker.model.replica import ReplicaState, ReplicaStatus
from stoker.wire.cluster import ReplicaReport
from stoker_node.kubernetes.replica_pod import ReplicaPod


class Tracked:
    """See the module."""

    __slots__ = (
        "accused",
        "blocked",
        "cards",
        "drain",
        "ip",
        "leaving",
        "order",
        "parts",
        "pod",
        "recovered",
        "reserved",
        "seen_us",
        "unfit",
    )

    def __init__(self, pod: ReplicaPod, order: int, seen_us: int, *, recovered: bool) -> None:
        self.pod = pod
        self.order = order
        """Who came first is served first."""
        self.seen_us = seen_us
        self.recovered = recovered
        """It was here before this agent: how long it took to start is not known."""
        self.cards: tuple[str, ...] | None = None
        """What the kubelet gave it; None while that is not known."""
        self.parts: tuple[Reservation, ...] = ()
        """What it holds in the agent's ledger, whether it may use it or not."""
        self.blocked = False
        """It has its cards, and something on them is about to go."""
        self.reserved = False
        """The agent knows it as a replica."""
        self.unfit = ""
        self.accused = ""
        """It used more memory than was promised to it."""
        self.leaving = False
        """It is to go: nothing more is dispatched to it, and nothing granted."""
        self.drain: asyncio.Task[None] | None = None
        """Ends when nothing is in flight there any more."""
        self.ip = ""
        """Where it is attached."""


def report(tracked: Tracked, status: ReplicaStatus | None, now_us: int) -> ReplicaReport:
    """What the operator is told. `status` is the agent's, where it has a reservation."""
    pod = tracked.pod
    if status is None:
        return ReplicaReport(
            id=pod.replica.id,
            pod_uid=pod.uid,
            state=ReplicaState.DRAINING if tracked.leaving else ReplicaState.STARTING,
            devices=tracked.cards or (),
            started_ms=(now_us - tracked.seen_us) // 1000,
            unfit=tracked.unfit,
        )
    return ReplicaReport(
        id=pod.replica.id,
        pod_uid=pod.uid,
        state=status.state,
        devices=tracked.cards or (),
        started_ms=(now_us - status.started_us) // 1000,
        ready_ms=_age_ms(status.ready_us, now_us),
        idle_ms=_age_ms(status.idle_since_us, now_us),
        in_flight=status.in_flight,
        served=status.served,
        overdue_ms=None if status.overdue_us is None else status.overdue_us // 1000,
        unfit=tracked.unfit,
    )


def _age_ms(since_us: int | None, now_us: int) -> int | None:
    return None if since_us is None else max(0, now_us - since_us) // 1000
