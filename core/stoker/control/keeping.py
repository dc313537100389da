"""How long idle replicas stay: asks the keep-alive policy of the function, or the platform's, up to keepAlive.maxTtl
and to what bounds on cost pay for (stoker.control.purse).

The policies are those of stoker.policies.eviction, the same objects that the simulator's late binding asks. One of them
draws, so what is asked for one idle period must be told from the next: a replica's start and what it has served.
"""

from stoker.control import prewarming
from stoker.control.device_share import share_of
from stoker.control.draft import Draft
from stoker.control.planning import Pair
from stoker.model.function import Function, KeepAlivePolicy
from stoker.model.replica import ReplicaStatus
from stoker.policies.eviction.interface import IdleResident

NEVER_US = 1 << 62
"""Of an idle replica that stays until its device is needed."""


def stays_us(draft: Draft, function: Function, pair: Pair, replica: ReplicaStatus | None = None) -> int:
    """How long the replica may be idle, or one that would be started for a wake (None); NEVER_US: until needed.

    A wake must not outlast what it wakes: where the time is drawn for each replica it lasts no longer than it must.
    """
    scaling, params = function.spec.scaling, draft.params
    policy = scaling.keep_alive or params.keep_alive
    if policy is KeepAlivePolicy.FIXED_TTL:
        kept_us = scaling.keep_alive_ttl_us
    else:
        kept_us = _asked_us(draft, policy, function, pair, replica)
    kept_us = kept_us if params.keep_alive_max_us is None else min(kept_us, params.keep_alive_max_us)
    return kept_us if replica is None else draft.purse.kept_us(kept_us, pair, function, replica)


def _asked_us(
    draft: Draft, policy: KeepAlivePolicy, function: Function, pair: Pair, replica: ReplicaStatus | None
) -> int:
    memory = draft.memory[pair[0]]
    credit = memory.credit[pair[1]]
    asked = draft.keep_alive(policy)
    if replica is None and asked.draws:
        return 0
    found = asked.keep_until_us(
        IdleResident(
            flow=pair[0],
            memory_mib=draft.needs(function, pair[1])[0].memory_mib,
            share=1.0 if replica is None else _share(draft, function, pair, replica),
            reload_us=draft.start_us(pair),
            exec_us=draft.exec_us(pair),
            latency_us=function.spec.slo.latency_us,
            ttl_us=function.spec.scaling.keep_alive_ttl_us,
            loaded_us=credit.since_us,
            idle_since_us=0,
            uses=credit.frequency,
            clock=credit.clock,
            episode=0 if replica is None else replica.started_us + replica.served,
            history=memory.arrivals,
            comes_back=prewarming.brings_back(function, draft.params),
            brought_back=replica is not None and not replica.served,
        )
    )
    return NEVER_US if found is None else found


def _share(draft: Draft, function: Function, pair: Pair, replica: ReplicaStatus) -> float:
    found = (draft.board.devices.get(device_id) for device_id in draft.devices_of(replica))
    return share_of(draft.needs(function, pair[1])[0], [device for device in found if device is not None])
