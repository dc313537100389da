"""The GpuPolicy that acts: the last good one, or the default where there is none.

A broken policy never takes the good one's place. Knows no watch.
"""

import structlog

from stoker.errors import InvalidObject
from stoker.model.mode import Mode
from stoker.model.policy import Policy, default_policy
from stoker.wire.cluster import API_VERSION
from stoker.wire.policy import KIND, NAME, decode_policy
from stoker_runtime.own_kinds import Specified

log = structlog.get_logger(__name__)


class AppliedPolicy:
    """`current` is what acts."""

    def __init__(self) -> None:
        self.current: Policy = default_policy()
        self.problem = ""
        """Why the newest one does not act, in one sentence; empty when it does."""

    def put(self, item: Specified | None) -> bool:
        """The GpuPolicy as it is now, None when there is none. Returns whether another policy acts now."""
        if item is not None and item.metadata.name != NAME:
            return False
        try:
            policy = default_policy() if item is None else _policy_of(item)
        except InvalidObject as error:
            problem = f"GpuPolicy {NAME}: {error}"
            if problem != self.problem:
                log.warning("policy_invalid", policy=NAME, error=str(error))
            self.problem = problem
            return False
        self.problem = ""
        changed = policy != self.current
        self.current = policy
        if changed:
            for warning in policy.warnings:
                log.warning("policy_field_without_effect", policy=NAME, problem=warning)
        return changed


def _policy_of(item: Specified) -> Policy:
    document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": item.metadata.name}, "spec": item.spec}
    return decode_policy(document, mode=Mode.KUBERNETES)
