"""The GpuPolicy that acts: the last good one, or the default. Creates `default` where there is none.

A broken policy never takes the good one's place, and its absence never refuses a function. Knows no watch.
"""

from collections.abc import Callable

import structlog

from stoker.model.policy import Policy
from stoker.wire.policy import default_policy_document
from stoker_operator.kinds import POLICIES, Dynamic
from stoker_runtime.applied_policy import AppliedPolicy
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.errors import AlreadyExists

log = structlog.get_logger(__name__)


class PolicyBook:
    """`see` what is watched; `current` is what acts."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._applied = AppliedPolicy()
        self.missing = False
        """Whether the last one was deleted."""
        self._changed = changed
        self._version = 0

    @property
    def current(self) -> Policy:
        """What acts."""
        return self._applied.current

    @property
    def problem(self) -> str:
        """Why the newest one does not act, in one sentence; empty when it does."""
        return self._applied.problem

    def see(self, item: Dynamic, gone: bool = False) -> None:
        """A state of a GpuPolicy, perhaps an old one; `gone` when it is no more."""
        version = int(item.metadata.resource_version or 0)
        if version < self._version:
            return  # a list that was under way while a watch told of something newer
        self._version = version
        self.missing = gone
        if self._applied.put(None if gone else item):
            policy = self.current
            log.info(
                "policy_changed", policy=item.metadata.name, queueing=policy.queueing, allocation=policy.allocation
            )
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
