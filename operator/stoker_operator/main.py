"""`python -m stoker_operator.main`: one of the operators; the one that holds the Lease acts, the other stands by.

The only module here that chooses parts. A leader that lost the Lease, or that met something only a new process can
heal, ends: what it knew is read back from the cluster by whoever leads next.
"""

import asyncio
import os
import sys
import uuid
from collections.abc import Mapping
from typing import Any

import structlog

from stoker.errors import StokerError
from stoker.metrics import AGENTS_CONNECTED, AGENTS_KNOWN
from stoker.wire.cluster import COMPONENT_OPERATOR
from stoker_operator.caches import Caches
from stoker_operator.config import OperatorSettings
from stoker_operator.explanations import Explanation, StandBy
from stoker_operator.kinds import FUNCTION_NODES, FUNCTIONS, POLICIES
from stoker_operator.leader import Leader
from stoker_operator.leader_client import LeaderClient
from stoker_runtime.cluster_settings import ClusterSettings
from stoker_runtime.event_loop import Signals, keep_what_start_up_made, unless
from stoker_runtime.internal import Internal
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.config import KubeSettings, load_config
from stoker_runtime.kube.errors import NotFound
from stoker_runtime.kube.lease import Elector, LeaseTiming
from stoker_runtime.kube.objects import Resource
from stoker_runtime.kube_metrics import KubeMetrics
from stoker_runtime.metrics import PrometheusSink
from stoker_runtime.process import Environment, run_process
from stoker_runtime.settings import ProcessSettings

log = structlog.get_logger(__name__)

LOOK_S = 1.0
MISSING_KIND_S = 10.0
"""A CRD that is missing for so long is not merely being installed beside us."""


class CannotServe(StokerError):  # noqa: N818  the name states the fact
    """The operator ends and is begun anew; the text says why."""


class Operator:
    """One process: caches and candidacy from the start, the leader's work once it leads."""

    def __init__(self, kube: KubeClient, settings: Environment) -> None:
        operator, place = settings.get(OperatorSettings), settings.get(ClusterSettings)
        self.sink = PrometheusSink(max_series=settings.get(ProcessSettings).max_series)
        namespace = place.namespace or kube.namespace
        self.caches = Caches(kube, namespace)
        self.elector = Elector(
            kube,
            operator.lease_name,
            namespace,
            identity=f"{place.pod}_{uuid.uuid4().hex[:8]}",
            timing=_timing(operator.lease_duration_s),
        )
        self.leader: Leader | None = None
        self._leader_kube: LeaderClient | None = None
        self.internal = Internal(
            metrics=self.sink.text,
            unready=self.unready,
            refresh=self._refresh,
            routes={"/v1/explain/{namespace}/{function}": self._explain},
        )
        self._figures = KubeMetrics(self.sink, COMPONENT_OPERATOR)
        self._figures.add_lease(operator.lease_name, self.elector)
        for name, cache in self.caches.named().items():
            self._figures.add_cache(name, cache)
        self._kube = kube
        self._settings = settings
        self._port = operator.internal_port
        self._missing = ""
        """The sentence for a kind that was not there at the last look."""
        self._missing_looks = 0

    async def run(self) -> None:
        """Until cancelled. Raises CannotServe when this process must end by itself."""
        await self.internal.start("0.0.0.0", self._port)  # noqa: S104  a pod's own network
        self.caches.start()
        lead = asyncio.create_task(self._lead())
        try:
            while True:
                await asyncio.wait([lead], timeout=LOOK_S)
                if lead.done():
                    lead.result()
                self._check()
        finally:
            lead.cancel()
            await asyncio.wait([lead])

    async def stop(self) -> None:
        """End the leader's work, then give the Lease back, so that the other one takes over at once."""
        if self.leader is not None:
            await self.leader.stop()
        if self._leader_kube is not None:
            await self._leader_kube.close()
        await self.elector.stop()
        await self.caches.stop()
        await self.internal.stop()

    def unready(self) -> str | None:
        """Why this process could not do its part now, in one sentence. A stand-in that could take over is ready."""
        if problem := self._missing or self.caches.unready():
            return problem
        if self.elector.problem:
            return self.elector.problem
        return (self.leader.problem or None) if self.leader is not None else None

    def _explain(self, path: Mapping[str, str]) -> Explanation | StandBy | None:
        if self.leader is None:
            return StandBy(self.elector.holder)
        return self.leader.explain(f"{path['namespace']}/{path['function']}")

    def _refresh(self) -> None:
        """What a scrape shows is as of now."""
        self._figures.refresh()
        if self.leader is not None:
            known, heard = self.leader.ears.agents_heard()
            self.sink.set(AGENTS_KNOWN, known, COMPONENT_OPERATOR)
            self.sink.set(AGENTS_CONNECTED, heard, COMPONENT_OPERATOR)

    async def _lead(self) -> None:
        # Who could not lead must not take the Lease from one who can.
        while missing := await missing_kind(self._kube):
            self._missing = missing
            await asyncio.sleep(LOOK_S)
        self._missing = ""
        self.elector.start()
        await self.elector.acquired.wait()
        self._leader_kube = LeaderClient(
            self._kube.transport.config, self.elector.is_leader, user_agent="stoker-operator"
        )
        self.leader = Leader(
            kube=self._leader_kube,
            caches=self.caches,
            settings=self._settings.get(OperatorSettings),
            place=self._settings.get(ClusterSettings),
            metrics=self.sink,
            figures=self._figures,
        )
        await self.leader.start()
        keep_what_start_up_made()
        await asyncio.Event().wait()

    def _check(self) -> None:
        if self.elector.lost.is_set():
            raise CannotServe(f"This operator does not lead any more: {self.elector.lost_because}")
        if self.leader is not None and self.leader.broken:
            raise CannotServe(f"This operator cannot go on: {self.leader.problem}")
        missing = self._missing or self.caches.missing_kind
        self._missing_looks = self._missing_looks + 1 if missing else 0
        if missing and self._missing_looks * LOOK_S >= MISSING_KIND_S:
            raise CannotServe(missing)


def _timing(duration_s: int) -> LeaseTiming:
    """In the proportions of client-go's 15, 10 and 2 seconds."""
    return LeaseTiming(duration_s=duration_s, renew_deadline_s=duration_s * 2 / 3, retry_s=duration_s / 7.5)


async def missing_kind(kube: KubeClient) -> str:
    """The sentence for one of our kinds that the API server does not know; empty when it knows all."""
    resources: tuple[Resource[Any], ...] = (FUNCTIONS, POLICIES, FUNCTION_NODES)
    for resource in resources:
        try:
            async for _ in kube.pages(resource, limit=1):
                break
        except NotFound:
            return (
                f"The API server knows no {resource.plural} of {resource.api_version}: install Stoker's CRDs (its Helm "
                "chart has them), and this operator starts."
            )
    return ""


async def serve(settings: Environment, signals: Signals) -> int:
    """Until SIGTERM."""
    async with KubeClient(load_config(settings.get(KubeSettings)), user_agent="stoker-operator") as kube:
        operator = Operator(kube, settings)
        try:
            await unless(signals.asked, operator.run())
        finally:
            await operator.stop()
    return 0


def main() -> int:
    """The process."""
    return run_process(os.environ, (KubeSettings, ClusterSettings, OperatorSettings), serve)


if __name__ == "__main__":
    sys.exit(main())
