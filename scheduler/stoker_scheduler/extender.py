"""The two calls of kube-scheduler: which nodes can hold a pod, and how good each of them is.

Decides by stoker.placement on what the ledger shows at this instant. Never blocks, never calls anybody, never
answers an error for a pod that it does not know: a pod without Stoker's annotation passes everywhere, unscored.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog

from stoker.errors import InvalidObject
from stoker.metrics import PLACEMENTS, PLACEMENTS_REJECTED, MetricsSink
from stoker.placement.filtering import Fit, filter_node
from stoker.placement.scoring import Score, outlook_of, points_of
from stoker.placement.view import NodeView, Pace, Resident, Wanted
from stoker.reasons import Reason
from stoker.wire.cluster import A_REPLICA, MAIN_CONTAINER, PodReplica
from stoker_scheduler.charges import Charges
from stoker_scheduler.explanations import SHOWN_NODES, Explanations, Rejected, Scored
from stoker_scheduler.protocol import Arguments, FilterResult, HostPriority, Pod

log = structlog.get_logger(__name__)

Candidate = tuple[str, NodeView, Fit]
"""A node that can hold the pod, and how it looks now."""

UNKNOWN_NODE = "Stoker knows no agent there: it has no FunctionNode."


class Ledger(Protocol):
    """What is known of the cluster now."""

    def node(self, name: str) -> NodeView | None: ...
    def pace(self, wanted: Wanted, node: str) -> Pace: ...
    def objective_us(self, function: str) -> int: ...
    def cross_tenant(self) -> frozenset[str]: ...


class Extender:
    """See the module. One per process; calls come one at a time or interleaved, all on the event loop."""

    def __init__(
        self,
        ledger: Ledger,
        charges: Charges,
        explanations: Explanations,
        metrics: MetricsSink,
        clock_us: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._charges = charges
        self._explanations = explanations
        self._metrics = metrics
        self._clock_us = clock_us

    def filter(self, arguments: Arguments) -> FilterResult:
        """Who can hold the pod. Every node that was offered is in exactly one part of the answer."""
        names = arguments.node_names or ()
        try:
            wanted = self._wanted(arguments.pod)
        except InvalidObject as error:
            return FilterResult(unresolvable=dict.fromkeys(names, str(error)))
        if wanted is None:
            return FilterResult(node_names=names)
        now_us = self._clock_us()
        self._charges.expire(now_us)
        passed: list[Candidate] = []
        failed: dict[str, str] = {}
        unresolvable: dict[str, str] = {}
        rejected: list[Rejected] = []
        cross_tenant = self._ledger.cross_tenant()
        for name in names:
            view = self._view(name, wanted)
            if view is None:
                failed[name] = UNKNOWN_NODE
                rejected.append(Rejected(node=name, reason=Reason.NODE_LOST.value, detail=UNKNOWN_NODE))
                continue
            verdict = filter_node(wanted, view, cross_tenant)
            if isinstance(verdict, Fit):
                passed.append((name, view, verdict))
                continue
            (unresolvable if verdict.for_ever else failed)[name] = f"{verdict.reason.value}: {verdict.detail}"
            rejected.append(Rejected(node=name, reason=verdict.reason.value, detail=verdict.detail))
        pod = _pod_key(arguments.pod)
        self._explanations.filtered(pod, wanted.pod_uid, wanted.function, len(passed), rejected)
        for reason, count in Counter(each.reason for each in rejected).items():
            self._metrics.inc(PLACEMENTS_REJECTED, reason, amount=count)
        if len(passed) == 1:
            # kube-scheduler asks for no scores then: the choice is made.
            self._score(pod, wanted, passed, now_us)
        if not passed:
            log.info("pod_fits_nowhere", pod=pod, function=wanted.function, nodes=len(names))
        return FilterResult(node_names=tuple(name for name, _, _ in passed), failed=failed, unresolvable=unresolvable)

    def prioritize(self, arguments: Arguments) -> list[HostPriority]:
        """A score for every node that was offered; 0 for all where nothing is known."""
        names = arguments.node_names or ()
        try:
            wanted = self._wanted(arguments.pod)
        except InvalidObject:
            wanted = None
        if wanted is None:
            return [HostPriority(host=name, score=0) for name in names]
        cross_tenant = self._ledger.cross_tenant()
        fitting: list[Candidate] = []
        for name in names:
            view = self._view(name, wanted)
            fit = None if view is None else filter_node(wanted, view, cross_tenant)
            if view is not None and isinstance(fit, Fit):
                fitting.append((name, view, fit))
        points = self._score(_pod_key(arguments.pod), wanted, fitting, self._clock_us())
        # A node may have stopped fitting between the two calls.
        return [HostPriority(host=name, score=points.get(name, 0)) for name in names]

    def _score(self, pod: str, wanted: Wanted, fitting: list[Candidate], now_us: int) -> dict[str, int]:
        """The points of each node that fits. The best one is charged, and the choice is explained and counted."""
        if not fitting:
            return {}
        outlooks = [outlook_of(wanted, view, fit, self._ledger.pace(wanted, name)) for name, view, fit in fitting]
        points = points_of(outlooks)
        names = [name for name, _, _ in fitting]
        best_first = heapq.nsmallest(SHOWN_NODES, range(len(names)), key=lambda at: (-points[at], names[at]))
        scores = [
            Scored(node=names[at], score=Score(points=points[at], **msgspec.structs.asdict(outlooks[at])))
            for at in best_first
        ]
        self._explanations.scored(pod, wanted.pod_uid, scores)
        best = scores[0]
        self._charges.charge(best.node, _resident(wanted, fitting[best_first[0]][2]), now_us)
        self._metrics.inc(PLACEMENTS, best.score.warmth.value)
        log.info(
            "pod_scored",
            pod=pod,
            function=wanted.function,
            best=best.node,
            points=best.score.points,
            warmth=best.score.warmth.value,
            ready_ms=best.score.ready_us // 1000,
        )
        return dict(zip(names, points, strict=True))

    def _view(self, name: str, wanted: Wanted) -> NodeView | None:
        view = self._ledger.node(name)
        charged = self._charges.on(name, but=wanted.pod_uid)
        return view.with_provisional(charged) if view is not None and charged else view

    def _wanted(self, pod: Pod) -> Wanted | None:
        """What the pod asks for; None for a pod that is not Stoker's. InvalidObject for a broken annotation."""
        text = pod.metadata.annotations.get(A_REPLICA)
        if text is None:
            return None
        try:
            replica = msgspec.json.decode(text, type=PodReplica)
        except msgspec.MsgspecError as error:
            raise InvalidObject("", f"the annotation {A_REPLICA} of the pod is not one of Stoker's: {error}") from None
        images = {container.name: container.image for container in pod.spec.containers}
        return Wanted(
            pod_uid=pod.metadata.uid,
            function=replica.function,
            variant=replica.variant,
            image=images.get(MAIN_CONTAINER, ""),
            options=replica.options,
            millicores=replica.millicores,
            memory_mib=replica.memory_mib,
            objective_us=self._ledger.objective_us(replica.function),
        )


def _resident(wanted: Wanted, fit: Fit) -> Resident:
    """The pod as one that is on the node already. A CPU replica holds no GPU there: count 0."""
    option = fit.option
    if option is None:
        return Resident(
            pod_uid=wanted.pod_uid, function=wanted.function, memory_mib=0, millicores=wanted.millicores, count=0
        )
    return Resident(
        pod_uid=wanted.pod_uid,
        function=wanted.function,
        memory_mib=option.memory_mib,
        sharing=option.sharing,
        count=option.count,
    )


def _pod_key(pod: Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"
