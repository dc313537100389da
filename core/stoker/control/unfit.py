"""Replicas on devices that they should not have: how long one blocks its device, and when one that serves is replaced.

The kubelet chooses devices, so a pod may get one that it may not use. It stays there as a blocker while its replacement
is on its way, so that the kubelet has one wrong device fewer to choose; then it goes. One whose replacement cannot be
started goes too, one in a node at a time: two that hold each other's device would otherwise both go and come back the
same way for ever. Each such landing counts for a back-off per function and node (planning.NodeBackOff).

A warm replica whose device fell ill goes on serving. It is replaced when a healthy device is free, and never before the
replacement is warm.
"""

from msgspec.structs import replace

from stoker.control.draft import Draft
from stoker.control.planning import FunctionMemory, NodeBackOff, Pair
from stoker.model.gpu_fault import FaultCode
from stoker.model.replica import ReplicaState, ReplicaStatus
from stoker.reasons import Reason


def count(draft: Draft, memory: FunctionMemory, key: str) -> FunctionMemory:
    """Fold in where replicas of the function got unfit devices, and where one got a good one since."""
    if not memory.unfit_on and key not in draft.fleet.blocked_functions:
        return memory
    params, now_us = draft.params, draft.now_us
    entries = dict(memory.unfit_on)
    present: dict[str, int] = {}
    for replica in draft.fleet.of_function(key):
        node = _node(draft, replica)
        if not node:
            continue
        present[replica.spec.id] = replica.started_us
        before = entries.get(node)
        if replica.state is ReplicaState.WARM and not replica.unfit:
            if before is not None and (replica.ready_us or 0) >= before.at_us:
                del entries[node]
        elif replica.unfit and (before is None or before.counted.get(replica.spec.id) != replica.started_us):
            failures = 1 if before is None else before.failures + 1
            delay_us = min(params.unfit_back_off_max_us, params.unfit_back_off_us << min(failures - 1, 20))
            counted = {} if before is None else before.counted
            fresh = before is None or now_us >= before.not_before_us
            entries[node] = NodeBackOff(
                failures=failures,
                at_us=now_us,
                not_before_us=now_us + delay_us,
                landings=1 if before is None or fresh else before.landings + 1,
                counted={**counted, replica.spec.id: replica.started_us},
            )
    for node, entry in list(entries.items()):
        left = {identity: at for identity, at in entry.counted.items() if present.get(identity) == at}
        if not left and now_us >= entry.not_before_us + params.unfit_back_off_max_us:
            del entries[node]
        elif len(left) < len(entry.counted):
            entries[node] = replace(entry, counted=left)
    return memory if entries == memory.unfit_on else replace(memory, unfit_on=entries)


def is_poor(draft: Draft, replica: ReplicaStatus) -> bool:
    """Whether it serves on a device that is ill. One that only takes nothing new (the device plugin is away, the node
    is silent) harms nobody who is on it.
    """
    if replica.state is not ReplicaState.WARM:
        return False
    devices = draft.board.devices
    faults = (devices[d].fault for d in replica.spec.devices if d in devices)
    return bool(replica.unfit) or any(fault not in (None, FaultCode.NOT_OFFERED) for fault in faults)


def replace_poor(draft: Draft, pair: Pair, live: list[ReplicaStatus], poor: list[ReplicaStatus], goal: int) -> int:
    """Drain those of `poor` that the others can do without; how many replicas to start for the rest (one at a time)."""
    warm = sum(r.state is ReplicaState.WARM for r in live)
    if warm > max(goal, len(poor)):
        draft.drain(_least_busy(poor), Reason.QUARANTINED)
        return 0
    starting = [r for r in live if r.state is ReplicaState.STARTING]
    if not starting:
        # While one is going, what it still runs hides how many are needed.
        return 0 if len(draft.fleet.staying(pair)) < len(draft.fleet.all_of(pair)) else 1
    # Where the sick device counts against its node, the replacement is not let in before the sick one has gone.
    stuck = all(
        r.waiting is Reason.WAITING_FOR_GPU and draft.now_us - r.started_us >= draft.params.quantum_us for r in starting
    )
    if stuck and draft.load(pair) == 0:
        for replica in poor:
            draft.drain(replica, Reason.QUARANTINED)
    return 0


def release_blockers(draft: Draft) -> None:
    """Let go of each blocker whose replacement has a good device, or cannot come."""
    idle: dict[str, tuple[int, ReplicaStatus]] = {}
    for pair in draft.fleet.blocking():
        blockers = draft.fleet.blockers(pair)
        if not blockers:
            continue
        unsettled = draft.fleet.started.get(pair, 0) or any(
            r.state is ReplicaState.STARTING and not r.spec.devices for r in draft.fleet.live(pair)
        )
        if unsettled or draft.board.claims_of(pair):
            continue
        for blocker in blockers:
            if pair not in draft.waiting:
                draft.drain(blocker, Reason.UNFIT_DEVICE)
                continue
            node = _node(draft, blocker)
            if node not in idle or (blocker.started_us, blocker.spec.id) < (idle[node][0], idle[node][1].spec.id):
                idle[node] = (blocker.started_us, blocker)
    going = (
        {_node(draft, draft.fleet.by_id[i]) for i in draft.fleet.leaving if i in draft.fleet.by_id} if idle else set()
    )
    for node, (_, blocker) in sorted(idle.items()):
        if node not in going:
            draft.drain(blocker, Reason.UNFIT_DEVICE)


def _node(draft: Draft, replica: ReplicaStatus) -> str:
    return draft.board.node_of(replica.spec.devices[0]) if replica.spec.devices else ""


def _least_busy(replicas: list[ReplicaStatus]) -> ReplicaStatus:
    return min(replicas, key=lambda r: (r.in_flight, r.idle_since_us is None, r.spec.id))
