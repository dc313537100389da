"""Whether a snapshot from a peer says something that a plan should answer at once. Pure.

Ages move in every snapshot; a plan for each heartbeat of a thousand agents would take a core for nothing. What is
not news here is seen by the next plan all the same, within a second while anything runs.
"""

from stoker.wire.cluster import DemandFrame, ReplicaFrame


def replica_news(before: ReplicaFrame | None, after: ReplicaFrame) -> bool:
    """Whether a replica came, went, changed its state or became idle or busy."""
    return before is None or _facts(before) != _facts(after)


def _facts(frame: ReplicaFrame) -> object:
    replicas = [
        (r.pod_uid, r.state, r.devices, bool(r.in_flight), r.idle_ms is None, bool(r.unfit), r.overdue_ms is None)
        for r in frame.replicas
    ]
    return frame.accepting, replicas, frame.queued


def demand_news(before: DemandFrame | None, after: DemandFrame) -> bool:
    """Whether somebody is held, or let go, or something was woken. What runs, agents tell themselves."""
    if before is None:
        return True
    for key, variants in after.functions.items():
        known = before.functions.get(key, {})
        for variant, report in variants.items():
            old = known.get(variant)
            if old is None or old.held != report.held:
                return True
            woken, was = report.last_wake_ms, old.last_wake_ms
            if woken is not None and (was is None or woken < was):
                return True
    return before.functions.keys() != after.functions.keys()
