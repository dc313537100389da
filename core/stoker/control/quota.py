"""The bound on the GPUs that a namespace's replicas hold at a time (GpuPolicy namespaces[].maxGpus)."""

from collections import Counter

from stoker.control.capacity import Need
from stoker.control.draft import Draft
from stoker.control.planning import Pair
from stoker.model.function import Variant


def exceeds(draft: Draft, pair: Pair, need: Need) -> bool:
    """Whether one more replica would hold more GPUs than the namespace may."""
    if pair[1] is not Variant.GPU or not draft.observed.max_gpus:
        return False
    namespace = pair[0].partition("/")[0]
    bound = draft.observed.max_gpus.get(namespace)
    if bound is None:
        return False
    held = draft.board.gpus_wanted(namespace, pair) - _blocked(draft).get(namespace, 0)
    return held + need.count > bound


def _blocked(draft: Draft) -> Counter[str]:
    """GPUs by namespace that blockers hold: nobody gets anything for them, so they count for no bound."""
    if draft.blocked_gpus is None:
        draft.blocked_gpus = Counter()
        for pair in draft.fleet.blocking():
            for replica in draft.fleet.all_of(pair):
                if replica.unfit:
                    draft.blocked_gpus[pair[0].partition("/")[0]] += len(draft.devices_of(replica))
    return draft.blocked_gpus
