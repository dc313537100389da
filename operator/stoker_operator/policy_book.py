"""The GpuPolicy that acts: the last good one, or the default. Creates `default` where there is none.

A broken policy never takes the good one's place, and its absence never refuses a function. Knows no watch.
"""

from collections.abc import Callable

import structlog

from stoker.errors import InvalidObject
from stoker.model.policy import Policy, default_policy
from stoker.wire.cluster import API_VERSION
from stoker.wire.policy import decode_policy, default_policy_document
from stoker_operator.kinds import POLICIES, Dynamic
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.errors import AlreadyExists

log = structlog.get_logger(__name__)


class PolicyBook:
    """`see` what is watched; `current` is what acts."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.current: Policy = default_policy()
        self.problem = ""
        """Why the newest one does not act, in one sentence; empty when it does."""
        self.missing = False
        """Whether the last one was deleted."""
        self._changed = changed
        self._version = 0

    def see(self, item: Dynamic, gone: bool = False) -> None:
        """A state of a GpuPolicy, perhaps an old one; `gone` when it is no more."""
        name, version = item.metadata.name, item.metadata.resource_version
        if int(version or 0) < self._version:
            return  # a list that was under way while a watch told of something newer
        self._version = int(version or 0)
        self.missing = gone
        if gone:
            policy = default_policy()
        else:
            document = {
                "apiVersion": API_VERSION,
                "kind": "GpuPolicy",
                "metadata": {"name": name},
                "spec": item.spec,
            }
            try:
                policy = decode_policy(document)
            except InvalidObject as error:
                problem = f"GpuPolicy {name}: {error}"
                if problem != self.problem:
                    log.warning("policy_invalid", policy=name, error=str(error))
                self.problem = problem
                return
        self.problem = ""
        if policy != self.current:
            log.info("policy_changed", policy=name, queueing=policy.queueing, allocation=policy.allocation)
            self.current = policy
            self._changed()

    async def ensure(self, kube: KubeClient) -> None:
        """Create the default where there is no GpuPolicy. Raises KubeError."""
        page = await kube.list(POLICIES)
        for item in page.items:
            self.see(item)
        if not page.items:
            try:
                created = await kube.create(POLICIES, default_policy_document())
            except AlreadyExists:
                return
            log.info("policy_created", policy=created.metadata.name)
            self.see(created)
