"""What a pair looks like to the allocation policy: as somebody who holds devices, and as somebody who wants one.

Collects facts from the draft and decides nothing. Facts that cost a look at all functions are collected only for the
policies that say they need them.
"""

from stoker.control.capacity import Needs
from stoker.control.draft import Draft
from stoker.control.planning import Pair
from stoker.control.wants import Rank, Want
from stoker.model.function import Sharing
from stoker.model.replica import ReplicaStatus
from stoker.policies.allocation.interface import Resident, Wanting


def resident(draft: Draft, pair: Pair, idle: ReplicaStatus | None = None) -> Resident:
    """The pair as it holds devices; `idle` is the longest idle of its replicas."""
    function = draft.observed.functions[pair[0]]
    credit = draft.memory[pair[0]].credit[pair[1]]
    need = draft.needs(function, pair[1])[0]
    memory_mib = need.memory_mib
    if need.sharing is Sharing.EXCLUSIVE:
        # It keeps everybody else off the whole device, however little of it it asked for.
        devices = draft.board.devices
        held = {d for r in draft.fleet.all_of(pair) for d in draft.devices_of(r)}
        memory_mib = max([devices[d].memory_mib for d in held if d in devices], default=memory_mib)
    namespace, policy = function.namespace, draft.policy
    lead_us, namespace_lead_us = draft.leads_us(pair) if policy.shares else (0.0, 0.0)
    tenant = draft.tenant(pair) if policy.by_tenant else None
    return Resident(
        flow=pair[0],
        namespace=namespace,
        memory_mib=memory_mib * need.count,
        reload_us=draft.start_us(pair),
        exec_us=draft.exec_us(pair),
        latency_us=function.spec.slo.latency_us,
        ttl_us=function.spec.scaling.keep_alive_ttl_us,
        loaded_us=credit.since_us,
        idle_since_us=draft.now_us if idle is None or idle.idle_since_us is None else idle.idle_since_us,
        uses=credit.frequency,
        clock=credit.clock,
        weight=max(1, function.spec.fair_share),
        namespace_weight=draft.observed.namespace_weights.get(namespace, 1),
        usage_us=draft.usage(pair).value_us,
        lead_us=lead_us,
        namespace_lead_us=namespace_lead_us,
        devices=0 if tenant is None else tenant.by_function.get(pair[0], 0),
        tenant_devices=0 if tenant is None else tenant.devices,
        tenant_gave_way_us=0 if tenant is None else draft.tenant_gave_way_us(pair),
    )


def wanting(draft: Draft, want: Want, needs: Needs) -> Wanting:
    """The want, for the policy. `needs`: the ways to serve it that are looked at."""
    pair = want.pair
    turn_us = turn_of(draft, pair)
    mine = draft.claimants.get(pair)
    if mine is None:
        mine = draft.claimants[pair] = resident(draft, pair)
    tenant = draft.tenant(pair) if draft.policy.asks else None
    return Wanting(
        resident=mine,
        since_us=want.since_us,
        entitled=want.rank is not Rank.SCALE_OUT or want.updates,
        patient=want.backlogged and draft.now_us - draft.waiting_since_us(pair) >= turn_us,
        turn_us=turn_us,
        tenant_holds=tenant is not None and not draft.board.classes_for(needs).isdisjoint(tenant.classes),
    )


def turn_of(draft: Draft, pair: Pair) -> int:
    """The turn of a pair, and how long it waits for one with no replica."""
    # A start-up that was never measured does not lengthen the wait: a guess must not starve anybody.
    return max(draft.params.quantum_us, 3 * (draft.known_start_us(pair) or 0))
