"""Who gives way to whom when no device is free: idle replicas by value, and turns under constant backlog.

Two rules. (1) An idle replica of another function, above its minReplicas and not needed for that function's own
demand, gives way; the allocation policy says which is worth least. (2) The quantum rule (DESIGN 4): nobody is idle
under constant backlog, so when a function without a replica has waited longer than max(3 x its start-up, quantum), a
replica that has itself been warm for the quantum, of the function with the most replica-seconds / weight above its
minReplicas, gives way. Work in flight always runs to its end.

Replica-seconds decay exponentially (PlanParams.usage_memory_us): an hour of quiet use is forgotten in minutes, and a
function that waits loses its claim to be the greediest. Service is charged by replica, whatever it is used for,
because a held device is what others lack.
"""

import math
from collections.abc import Sequence

from msgspec import Struct

from stoker.control.capacity import Board, Need
from stoker.control.planning import Credit, Pair, Usage
from stoker.model.function import Function
from stoker.model.replica import ReplicaStatus
from stoker.reasons import Reason


class Candidate(Struct, frozen=True, kw_only=True):
    """A replica that may be taken away, and what that costs."""

    replica_id: str
    rank: int
    """0: idle; 1: an old revision of the waiter itself; 2: its turn is over. Lower ranks go first."""
    cost: float
    """Within a rank: the policy's value of an idle one; minus usage / weight where a turn is over."""
    reason: Reason


class Holder(Struct, frozen=True):
    """What a pair with replicas could give to anybody; looked at once in a plan, and again when it gave something."""

    function: Function
    idle: tuple[ReplicaStatus, ...]
    """Idle replicas, the longest idle first."""
    idle_spare: int
    """How many of them its own demand and minReplicas can spare."""
    value: float
    warm: tuple[ReplicaStatus, ...]
    """Warm replicas, the longest warm first, where its minReplicas can spare any."""
    warm_spare: int
    greed: float
    """Usage / weight."""


class Eviction(Struct, frozen=True, kw_only=True):
    """Devices that will be free for the waiter once the victims have gone (none: others are leaving anyway)."""

    need: Need
    devices: tuple[str, ...]
    victims: tuple[Candidate, ...]


def grow_usage(usage: Usage, held: int, now_us: int, memory_us: int) -> Usage:
    """Charge `usage.held` replicas for the time since `usage.at_us`; `held` are charged from now on."""
    elapsed_us = max(0, now_us - usage.at_us) if usage.at_us else 0
    kept = math.exp(-elapsed_us / memory_us)
    value_us = usage.value_us * kept + usage.held * memory_us * (1 - kept)
    return Usage(value_us=value_us, at_us=now_us, held=held)


def grow_credit(credit: Credit, replicas: Sequence[ReplicaStatus], clock: float) -> Credit:
    """Count what the pair's replicas served since the last plan; without replicas the frequency starts again."""
    served = {r.spec.id: (r.started_us, r.served) for r in replicas}
    new = 0
    for identity, (started_us, count) in served.items():
        before = credit.served.get(identity)
        new += count - before[1] if before is not None and before[0] == started_us else count
    if not replicas:
        return Credit(frequency=0, clock=clock)
    in_use = new > 0 or any(r.in_flight for r in replicas) or not credit.served
    return Credit(frequency=credit.frequency + new, clock=clock if in_use else credit.clock, served=served)


def find_eviction(
    board: Board, needs: Sequence[Need], pair: Pair, candidates: Sequence[Candidate], leaving: set[str]
) -> Eviction | None:
    """The cheapest way to free devices for one replica of `pair`; None when the candidates do not suffice.

    Fewest turns cut short, then fewest own old replicas, then the lowest value in all; options in order of preference.
    """
    if not candidates and not leaving:
        return None
    by_id = {candidate.replica_id: candidate for candidate in candidates}
    for need in needs:
        options = []
        for index, device in enumerate(board.devices.values()):
            if device.id not in board.usable((need,)) or board.is_claimed(device.id):
                continue
            held = board.held[device.id]
            residents = [by_id[r.replica_id] for r in held if r.replica_id in by_id]
            if held and not residents and not any(r.replica_id in leaving for r in held) and need.count == 1:
                continue  # nothing changes there, and it was not free before
            victims = _victims(board, need, pair, device.id, residents, leaving)
            if victims is not None:
                options.append((_price(victims), index, device.id, victims))
        if len(options) >= need.count:
            chosen = sorted(options, key=lambda option: option[:2])[: need.count]
            unique = {v.replica_id: v for _, _, _, victims in chosen for v in victims}
            return Eviction(
                need=need,
                devices=tuple(device_id for _, _, device_id, _ in chosen),
                victims=tuple(unique.values()),
            )
    return None


def _victims(  # noqa: PLR0917  the facts of one device
    board: Board, need: Need, pair: Pair, device_id: str, residents: list[Candidate], leaving: set[str]
) -> list[Candidate] | None:
    device = board.devices[device_id]
    gone = set(leaving)
    taken: list[Candidate] = []
    for candidate in sorted(residents, key=lambda c: (c.rank, c.cost, c.replica_id)):
        if board.is_free(device, need, pair, gone):
            break
        gone.add(candidate.replica_id)
        taken.append(candidate)
    if not board.is_free(device, need, pair, gone):
        return None
    # Spare the dearest ones that turn out not to be needed (a small one went first, a large one made the room).
    for candidate in reversed(taken[:-1]):
        if board.is_free(device, need, pair, gone - {candidate.replica_id}):
            gone.discard(candidate.replica_id)
            taken.remove(candidate)
    return taken


def _price(victims: Sequence[Candidate]) -> tuple[int, int, float]:
    turns = sum(v.rank == 2 for v in victims)
    own = sum(v.rank == 1 for v in victims)
    worst = max((v.rank for v in victims), default=0)
    return (turns, own, sum(v.cost for v in victims if v.rank == worst))
