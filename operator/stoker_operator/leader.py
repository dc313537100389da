"""What the leading operator runs, wired: stores, boards, streams, the plan loop and the queues, in one order.

Begun when this process has acquired the Lease and ended before it gives it back. Chooses no part and reads no setting
of the environment: main.py does.
"""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from stoker.control.planning import PlanMemory, PlanParams
from stoker.metrics import MetricsSink
from stoker.model.status import FunctionStatus
from stoker.pods.params import PodParams
from stoker.reasons import Reason
from stoker.wire.cluster import COMPONENT_OPERATOR
from stoker.wire.function_node import AGENT_LEASE
from stoker_operator.authority import CHECK_S, CertificateAuthority
from stoker_operator.caches import Caches
from stoker_operator.chores import HOSTNAMES, POLICY, ROUTES, Chores
from stoker_operator.config import OperatorSettings
from stoker_operator.cost_board import CostBoard
from stoker_operator.ears import Ears
from stoker_operator.explanations import Explanation, FailureBook, explain
from stoker_operator.figure_book import TELL_S, FigureBook
from stoker_operator.fleet import Fleet
from stoker_operator.function_store import FunctionStore
from stoker_operator.function_sync import FunctionSync, SyncSettings
from stoker_operator.hostname_sync import HostnameSettings, HostnameSync
from stoker_operator.kinds import Dynamic
from stoker_operator.kopf_feed import AUDIT_S, KopfFeed
from stoker_operator.ledger import Nodes
from stoker_operator.node_choice import NodeChoice
from stoker_operator.node_sync import NodeSync
from stoker_operator.owned_objects import OwnedObjects
from stoker_operator.pod_book import PodBook
from stoker_operator.pod_facts import failure_of, waiting_of
from stoker_operator.pod_lives import PodLives
from stoker_operator.pod_maker import PodMaker
from stoker_operator.pod_view import ReplicaPod
from stoker_operator.pod_warnings import INTERVAL_S as WARNINGS_S
from stoker_operator.pod_warnings import PodWarnings
from stoker_operator.pokes import INTERVAL_S, Pokes
from stoker_operator.policy_book import PolicyBook
from stoker_operator.prefetch_sync import LOOK_S, PrefetchSync, kept_by, wanted_images
from stoker_operator.revisions import Revisions
from stoker_operator.ticket_keys import TicketKeyMaker
from stoker_runtime.cluster_settings import ClusterSettings
from stoker_runtime.identity import Identity
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.errors import KubeError
from stoker_runtime.kube.work_queue import WorkQueue
from stoker_runtime.kube_metrics import KubeMetrics
from stoker_runtime.process import clock_us, wall_us

log = structlog.get_logger(__name__)

AUTHORITY_RETRY_S = 2.0


class Leader:
    """`await start()`, `await stop()`; once each."""

    def __init__(
        self,
        *,
        kube: KubeClient,
        caches: Caches,
        settings: OperatorSettings,
        place: ClusterSettings,
        metrics: MetricsSink,
        figures: KubeMetrics,
    ) -> None:
        self._kube = kube
        self._caches = caches
        self._settings = settings
        self._tasks: list[asyncio.Task[None]] = []
        namespace = self._namespace = place.namespace or kube.namespace
        domain = place.cluster_domain

        self.store = FunctionStore(self._on_function)
        self.policy = PolicyBook(self._on_policy)
        self.ears = Ears(
            kube,
            namespace,
            on_report=self._on_report,
            on_agent=self._on_agent,
            poke=self._poke,
            clock_us=clock_us,
            port=settings.peer_port,
        )
        self.nodes = Nodes(self.ears.agents, round(settings.node_lost_s * 1e6))
        self.node_choice = NodeChoice()
        self.pods = PodBook(self.ears.agents, lambda _: self._poke())
        self._feed = KopfFeed(kube, kube.transport.config, self.store, self._on_policy_event)
        self._authority = CertificateAuthority(kube, namespace, lambda: dt.datetime.now(dt.UTC))
        self._identity = Identity(kube, namespace, COMPONENT_OPERATOR)
        self._maker = PodMaker(
            policy=lambda: self.policy.current,
            accounts=caches.accounts_of,
            base=PodParams(
                system_namespace=namespace,
                wait_image=settings.wait_image,
                pause_image=settings.pause_image,
                grant_host=f"{settings.node_service}.{namespace}.svc.{domain}",
                scheduler_name=settings.scheduler_name,
                product_label=settings.product_label or None,
                ephemeral_storage_mib=settings.ephemeral_storage_mib or None,
            ),
        )
        self.revisions = Revisions(kube, self._maker.params, self._spec_of)
        self.lives = PodLives(
            kube=kube,
            body_of=lambda start: self._maker.body(start, self.revisions),
            check=self._maker.check,
            ask_to_drain=self.ears.ask_to_drain,
            pods=self.pods.views,
            clock_us=clock_us,
            metrics=metrics,
            changed=self._poke,
        )
        self.failures = FailureBook()
        self.costs = CostBoard(self.ears.agents, self.nodes.labels)
        self.fleet = Fleet(
            store=self.store,
            nodes=self.nodes,
            node_choice=self.node_choice,
            agents=self.ears.agents,
            demand=self.ears.demand,
            lives=self.lives,
            revisions=self.revisions,
            views=self.pods.views,
            waiting=self._waiting,
            failure_of=lambda view, now_us: failure_of(view, self.nodes, now_us),
            failed=self.failures.add,
            policy=lambda: self.policy.current,
            costs=self.costs,
            planned=self._planned,
            params=self._params,
            clock_us=clock_us,
            wall_us=wall_us,
            metrics=metrics,
        )
        self.hostnames = HostnameSync(
            kube,
            namespace,
            HostnameSettings(
                kind=settings.hostname_kind,
                service=settings.gateway_service,
                ingress_class=settings.ingress_class,
                parent_gateway=settings.parent_gateway,
                tls_secret=settings.hostname_tls_secret,
            ),
            metrics,
        )
        self._figures = FigureBook(self.ears.slo, self.ears.agents, self.costs)
        self._prefetch = PrefetchSync(kube, self._maker.params, self._maker.check, clock_us, metrics)
        self._pokes = Pokes(kube, metrics)
        self._warnings = PodWarnings(kube, clock_us=clock_us, changed=self._poke)
        owned = {cache.resource.plural: cache for cache in (caches.services, caches.network_policies)}
        self.sync = FunctionSync(
            kube=kube,
            store=self.store,
            revisions=self.revisions,
            objects=OwnedObjects(kube, owned, metrics),
            settings=SyncSettings(
                system_namespace=namespace,
                gateway_host=f"{settings.gateway_service}.{namespace}.svc.{domain}",
                cluster_domain=domain,
                metrics_namespaces=tuple(name for name in settings.metrics_namespaces.split(",") if name),
            ),
            in_use=self.pods.revisions_in_use,
            hostname_conflicts=self.hostnames.conflicts,
            image_problem=self._prefetch.problem,
            figures=self._figures.of,
            clock_us=clock_us,
            now=lambda: dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            metrics=metrics,
        )
        node_sync = NodeSync(kube, caches.nodes, caches.function_nodes, metrics)
        self.queue = _queue("functions", self.sync.handle, settings.sync_workers, figures)
        self._node_queue = _queue("nodes", node_sync.handle, 2, figures)
        chores = Chores(kube, self.store, self.policy, self.hostnames, self.queue.add)
        self._chores = _queue("chores", chores.do, 1, figures)

    @property
    def problem(self) -> str:
        """Why the leader cannot do its work now, in one sentence; empty when it can."""
        if self._feed.failed:
            return "kopf has ended by itself; the log says why."
        return self.fleet.problem or self.ears.problem or self._identity.problem or self.policy.problem

    @property
    def broken(self) -> bool:
        """Whether only a new process helps."""
        return self._feed.failed

    async def start(self) -> None:
        """Take over. Raises KubeError where the API server does not answer; the process then begins anew."""
        self._every(CHECK_S, self._authority.ensure, AUTHORITY_RETRY_S)
        self._every(CHECK_S, TicketKeyMaker(self._kube, self._namespace).ensure, AUTHORITY_RETRY_S)
        await self._identity.load()
        await self.policy.ensure(self._kube)
        await self._feed.audit()
        await self._caches.synced()
        self._caches.attach(
            on_pod=self.pods.see,
            on_node=self._on_node,
            on_function_node=self._on_function_node,
            on_lease=self._on_lease,
            on_revision=self.revisions.see,
            on_owned=self.queue.add,
        )
        await self.ears.listen(self._identity, self._settings.first_word_s)
        self._feed.start()
        self.fleet.start()
        for queue in (self.queue, self._node_queue, self._chores):
            queue.start()
        for key in self.store.objects:
            self.queue.add(key)
        self._chores.add(HOSTNAMES)
        self._every(LOOK_S, self._keep_images, LOOK_S)
        self._every(INTERVAL_S, self._poke_pods, INTERVAL_S)
        self._every(WARNINGS_S, self._read_warnings, WARNINGS_S)
        self._every(TELL_S, self._tell_figures, TELL_S)
        self._every(AUDIT_S, self._audit, AUDIT_S)
        log.info("leading", functions=len(self.store.functions), pods=len(self.pods.views()))

    async def stop(self) -> None:
        """Begin nothing more. Pods stay as they are: the next leader goes on from them."""
        await self.fleet.stop()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for queue in (self.queue, self._node_queue, self._chores):
            await queue.stop()
        await self._feed.stop()
        await self.ears.stop()
        await self._identity.stop()

    def explain(self, key: str) -> Explanation | None:
        """What is being done for a function, and why; None for one that does not exist."""
        if key not in self.store.objects:
            return None
        return explain(
            key,
            self.sync.status(key),
            self.store.invalid.get(key, ""),
            self.sync.memory(key),
            self.pods.views().values(),
            self._waiting,
            self.failures.of(key, clock_us()),
        )

    def _waiting(self, view: ReplicaPod) -> tuple[Reason, str] | None:
        return waiting_of(view, self.nodes, self._warnings.of(view.uid))

    def _on_function(self, key: str) -> None:
        self.queue.add(key)
        self._chores.add(HOSTNAMES)
        self._poke()

    def _on_policy(self) -> None:
        self.lives.forgive()
        for key in self.store.objects:
            self.queue.add(key)
        self._chores.add(HOSTNAMES)
        self._poke()

    def _on_policy_event(self, item: Dynamic, gone: bool) -> None:
        self.policy.see(item, gone)
        if self.policy.missing:
            self._chores.add(POLICY)

    def _on_node(self, before: Any, after: Any) -> None:
        name = (after or before).metadata.name
        if after is None:
            self.ears.agents.gone(name)
        else:
            self.ears.agents.here(name)
        is_new = after is not None and (before is None or before.metadata.uid != after.metadata.uid)
        if is_new and self.ears.has_agent(name):
            # Registered anew: its FunctionNode went with the one before.
            self._node_queue.add(name)
        self.nodes.set_node(name, after, clock_us())
        self.node_choice.set_node(name, after)
        if before is None or after is None or (before.ready, before.cordoned) != (after.ready, after.cordoned):
            self._poke()

    def _on_function_node(self, before: Any, after: Any) -> None:
        name = (after or before).metadata.name
        self.nodes.set_status(name, None if after is None else {"status": after.status})
        self._node_queue.add(name)
        self._poke()

    def _on_lease(self, before: Any, after: Any) -> None:
        name = (after or before).metadata.name
        if name.startswith(AGENT_LEASE):
            self.nodes.set_lease(name.removeprefix(AGENT_LEASE), after, clock_us())

    def _on_report(self) -> None:
        self.pods.touch()

    def _on_agent(self, node: str) -> None:
        self._node_queue.add(node)

    def _poke(self) -> None:
        self.fleet.poke()

    def _params(self) -> PlanParams:
        policy = self.policy.current
        return PlanParams(
            allocation=policy.allocation,
            keep_alive=policy.keep_alive,
            keep_alive_max_us=policy.keep_alive_max_us,
            pre_warm=policy.pre_warm,
            scaling=policy.scaling,
            quantum_us=round(self._settings.quantum_s * 1e6),
        )

    def _planned(self, statuses: dict[str, FunctionStatus], memory: PlanMemory) -> None:
        for key in self.sync.planned(statuses, memory):
            self.queue.add(key)

    def _spec_of(self, key: str) -> Mapping[str, Any] | None:
        item = self.store.objects.get(key)
        return None if item is None else item.spec

    async def _audit(self) -> None:
        # In the queue, so that it and a change do not meet.
        self._chores.add(ROUTES)
        await self._feed.audit()
        await self.policy.ensure(self._kube)

    async def _tell_figures(self) -> None:
        for key in self._figures.moved(self.store.functions, clock_us()):
            self.queue.add(key)

    async def _poke_pods(self) -> None:
        await self._pokes.round(self.pods.views().values(), self.nodes.changes + self.ears.agents.returns)

    async def _read_warnings(self) -> None:
        await self._warnings.round(self.pods.views().values())

    async def _keep_images(self) -> None:
        pods = list(self._caches.prefetch_pods.items())
        kept = frozenset(found for pod in pods if (found := kept_by(pod)) is not None)
        policy = self.policy.current
        wanted = wanted_images(
            self.store.functions.values(),
            policy,
            self.nodes.devices(clock_us()),
            images=self.nodes.images,
            kept=kept,
            allowed=self.node_choice.of_all(self.store.functions, policy),
        )
        for key in await self._prefetch.round(wanted, self.store.functions, pods):
            self.queue.add(key)

    def _every(self, pause_s: float, work: Callable[[], Awaitable[None]], retry_s: float) -> None:
        async def run() -> None:
            while True:
                left_s = retry_s
                try:
                    await work()
                    left_s = pause_s
                except KubeError as error:
                    log.warning("work_failed", work=work.__qualname__, error=str(error))
                except Exception:
                    log.exception("work_failed", work=work.__qualname__)
                await asyncio.sleep(left_s)

        self._tasks.append(asyncio.create_task(run()))


def _queue(
    name: str, handle: Callable[[str], Awaitable[float | None]], workers: int, figures: KubeMetrics
) -> WorkQueue[str]:
    queue = WorkQueue(handle, name=name, workers=workers, on_run=figures.on_run(name))
    figures.add_queue(name, queue)
    return queue
