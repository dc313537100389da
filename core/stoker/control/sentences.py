"""The plain sentences of a function's conditions. Each is complete for a person who never saw the source."""

from collections import Counter
from collections.abc import Collection

from stoker.control.capacity import Needs
from stoker.control.draft import Draft
from stoker.control.holdings import Holding
from stoker.control.planning import BackOff, Pair
from stoker.model.function import Function, Variant
from stoker.model.quantity import format_duration
from stoker.model.replica import ReplicaStatus


def usually(draft: Draft, pair: Pair) -> str:
    """How long a start-up usually takes, where it was measured."""
    known = draft.known_start_us(pair)
    return f"usually {format_duration(known)}" if known is not None else ""


def at_zero(draft: Draft, pair: Pair) -> str:
    known = usually(draft, pair)
    return "it is scaled to zero; the next request starts a replica" + (f" ({known})" if known else "")


def starts_now(draft: Draft, pair: Pair) -> str:
    known = usually(draft, pair)
    return "a replica starts now" + (f", {known}" if known else "")


def starting(draft: Draft, pair: Pair, first: ReplicaStatus) -> str:
    """Where the replica starts, and for how long by now.

    Not so on Kubernetes, where it is why it waits that is told: a sentence that changes each second is a status that
    is written again and again, and the condition has a time of its own.
    """
    known = usually(draft, pair)
    so_far = f"{format_duration(max(0, draft.now_us - first.started_us))} so far" if first.waiting is None else ""
    times = ", ".join(part for part in (so_far, known) if part)
    where = device_labels(draft, first)
    return f"replica {first.spec.ordinal} is starting{f' on {where}' if where else ''}{f' ({times})' if times else ''}"


def failed_before(back_off: BackOff | None) -> str:
    """How often it has failed, as the end of a sentence; empty when it has not."""
    if back_off is None:
        return ""
    times = "once" if back_off.failures == 1 else f"{back_off.failures} times"
    return f"; it has failed {times}, last because {back_off.detail}"


def next_start(draft: Draft, back_off: BackOff) -> str:
    return f"the next start is in {format_duration(back_off.not_before_us - draft.now_us)}"


def on_sick_device(draft: Draft, replica: ReplicaStatus) -> str:
    """What is wrong with the device that it serves on."""
    devices = [draft.board.devices[d] for d in replica.spec.devices if d in draft.board.devices]
    sick = next((device for device in devices if not device.healthy), None)
    what = replica.unfit if sick is None else f"{sick.label} is not healthy ({sick.reason})"
    return f"but {what}: it is replaced when a healthy one is free"


def over_quota(draft: Draft, pair: Pair) -> str:
    namespace = pair[0].partition("/")[0]
    bound = draft.observed.max_gpus.get(namespace, 0)
    held = draft.board.gpus.get(namespace, 0)
    return f"namespace {namespace} holds {held} of the {bound} GPUs that GpuPolicy allows it"


def sound_elsewhere(draft: Draft, wanted: Function, pair: Pair, avoided: Collection[str]) -> bool:
    """Whether there are healthy devices for it in nodes that are not avoided."""
    usable = draft.board.usable(draft.needs(wanted, pair[1]))
    return any(d.healthy and draft.board.may_go(pair, d.node, avoided) for d in usable)


def tried_again(draft: Draft, pair: Pair, avoided: Collection[str]) -> str:
    entries = draft.memory[pair[0]].unfit_on
    soonest_us = min(entries[node].not_before_us for node in avoided)
    where = " and ".join(sorted(avoided))
    left = format_duration(max(1_000_000, soonest_us - draft.now_us))
    return f"the last pod on {where} got a device that it may not use; it is tried there again in {left}"


def holding(draft: Draft, needs: Needs) -> Holding:
    """The devices that would do, and who is on them; counted once in a plan for those that want the same kinds."""
    classes = draft.board.classes_for(needs)
    if classes not in draft.holdings:
        draft.holdings[classes] = _count(draft, needs)
    return draft.holdings[classes]


def _count(draft: Draft, needs: Needs) -> Holding:
    usable = draft.board.usable(needs)
    by_id = draft.fleet.by_id
    holders = {
        by_id[r.replica_id].spec.function for d in usable for r in draft.board.held[d.id] if r.replica_id in by_id
    }
    by_namespace: dict[str, list[str]] = {}
    for key in sorted(holders):
        namespace, _, name = key.partition("/")
        by_namespace.setdefault(namespace, []).append(name)
    sound = [d for d in usable if d.healthy]
    return Holding(
        devices=len(usable),
        held=sum(bool(draft.board.held[d.id]) for d in sound),
        sound=len(sound),
        sick=tuple(f"{d.label} is not healthy ({d.reason})" for d in usable if not d.healthy),
        on_cluster=any(d.node for d in usable),
        on_nodes=Counter(d.node for d in usable),
        holders={namespace: tuple(names) for namespace, names in by_namespace.items()},
        holder_count=len(holders),
    )


def waiting(draft: Draft, pair: Pair, found: Holding) -> str:
    """Who holds what it waits for, and what comes next."""
    parts = [f"waiting for {'a GPU' if pair[1] is Variant.GPU else 'CPU cores'}"]
    if found.held:
        verb = "hold" if found.held > 1 else "holds"
        replicas = f"replicas of {_names(pair, found)}" if found.holder_count else "replicas that are ending"
        parts.append(f": {found.held} of {found.devices} {verb} {replicas}")
    closed = sum(count for node, count in found.on_nodes.items() if not draft.board.may_go(pair, node))
    if closed:
        why = "not ready, cordoned, or of another pool"
        parts.append(f"; {closed} of {found.devices} on nodes that take no pod of it ({why})")
    parts += [f"; {clause}" for clause in found.sick[:SHOWN]]
    if len(found.sick) > SHOWN:
        parts.append(f"; so are {len(found.sick) - SHOWN} more")
    claims = draft.board.claims_of(pair)
    if claims:
        where = " + ".join(draft.board.devices[d].label for d in claims[0].devices)
        parts.append(f"; it gets {where} as soon as the work there has ended")
    elif pair in draft.turn_us:
        left = max(0, draft.turn_us[pair] - draft.now_us)
        parts.append(f"; its turn comes within ~{format_duration(max(1_000_000, left))}")
    return "".join(parts)


SHOWN = 5
"""Functions or devices that a sentence names at most."""


def _names(pair: Pair, found: Holding) -> str:
    """Functions of its own namespace by name; those of others are theirs to know, and only counted."""
    own = found.holders.get(pair[0].partition("/")[0], ())
    named = list(own[:SHOWN])
    if len(own) > SHOWN:
        named.append(f"{len(own) - SHOWN} more")
    others = found.holder_count - len(own)
    if others:
        named.append(f"{others} {'function' if others == 1 else 'functions'} of other namespaces")
    return ", ".join(named)


def device_labels(draft: Draft, replica: ReplicaStatus) -> str:
    """Labels of its devices, joined; empty while they are not known."""
    devices = draft.board.devices
    return " + ".join(devices[d].label if d in devices else d for d in replica.spec.devices)
