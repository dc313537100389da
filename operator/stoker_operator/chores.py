"""What the leader looks after that belongs to no single function: own hostnames, what leads to them, the GpuPolicy.

The handler of a queue with one worker, so that no two chores meet. Decides nothing: HostnameSync and PolicyBook do.
"""

from collections.abc import Callable

from stoker_operator.function_store import FunctionStore
from stoker_operator.hostname_sync import HostnameSync
from stoker_operator.policy_book import PolicyBook
from stoker_runtime.kube.client import KubeClient

HOSTNAMES = "hostnames"
"""Who gets which own hostname: due when a function or the policy changed."""
ROUTES = "routes"
"""Whether what leads to them is still there: nobody tells of that, so it is due now and then."""
POLICY = "policy"
"""That there is a GpuPolicy: due when the last one was deleted."""


class Chores:
    """`await do(chore)`; which are due is the caller's to say."""

    def __init__(
        self,
        kube: KubeClient,
        store: FunctionStore,
        policy: PolicyBook,
        hostnames: HostnameSync,
        has_news: Callable[[str], None],
    ) -> None:
        """`has_news` is told of functions that got a hostname, or lost one."""
        self._kube = kube
        self._store = store
        self._policy = policy
        self._hostnames = hostnames
        self._has_news = has_news

    async def do(self, chore: str) -> None:
        """One of the above. Raises KubeError; doing it again heals."""
        if chore == POLICY:
            await self._policy.ensure(self._kube)
        elif chore == ROUTES:
            await self._hostnames.audit()
        else:
            await self._settle_hostnames()

    async def _settle_hostnames(self) -> None:
        store = self._store
        oldest_first = sorted(
            store.functions.values(), key=lambda f: (store.objects[f.key].metadata.creation_timestamp, f.key)
        )
        for key in self._hostnames.look(oldest_first, self._policy.current):
            self._has_news(key)
        await self._hostnames.write()
