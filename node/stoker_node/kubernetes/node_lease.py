"""The Lease `stoker-node-NODE`: that the node's agent lives, for those who have no stream from it.

Written whole each time, so that one that was deleted comes back. Whoever reads it watches whether it changes.
"""

import asyncio
from collections.abc import Callable

import structlog

from stoker.wire.function_node import AGENT_LEASE
from stoker_node.kubernetes.ledger import MANAGER, Applier
from stoker_runtime.background import Background
from stoker_runtime.kube.clock import micro_time
from stoker_runtime.kube.errors import KubeError
from stoker_runtime.kube.lease import LEASES

log = structlog.get_logger(__name__)

RENEW_S = 10.0
DURATION_S = 40


class NodeLease:
    """`start()`, `await stop()`."""

    def __init__(
        self,
        kube: Applier,
        namespace: str,
        node: str,
        holder: str,
        *,
        renew_s: float = RENEW_S,
        now: Callable[[], str] = micro_time,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = f"{AGENT_LEASE}{node}"
        self._holder = holder
        self._renew_s = renew_s
        self._now = now
        self._task = Background("node-lease")
        self.problem = ""

    def start(self) -> None:
        self._task.start(self._run)

    async def stop(self) -> None:
        """Renew no more. The Lease stays: the next agent of the node takes it over."""
        await self._task.stop()

    async def _run(self) -> None:
        while True:
            body = {
                "apiVersion": LEASES.api_version,
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": {
                    "holderIdentity": self._holder,
                    "leaseDurationSeconds": DURATION_S,
                    "renewTime": self._now(),
                },
            }
            try:
                await self._kube.apply(LEASES, self._name, body, self._namespace, manager=MANAGER, force=True)
                self.problem = ""
            except KubeError as err:
                if not self.problem:
                    log.warning("lease_not_renewed", lease=self._name, error=str(err))
                self.problem = f"The Lease {self._name} cannot be renewed: {err}"
            except Exception:
                # A mistake of ours must not end the renewals.
                log.exception("lease_failed")
            await asyncio.sleep(self._renew_s)
