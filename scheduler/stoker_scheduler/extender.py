"""The two calls of kube-scheduler: which nodes can hold a pod, and how good each of them is.

Decides by stoker.placement on what the ledger shows at this instant. Never blocks, never calls anybody, never
answers an error for a pod that it does not know: a pod without Stoker's annotation passes everywhere, unscored.
"""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog

from stoker.errors import InvalidObject
from stoker.metrics import PLACEMENTS, PLACEMENTS_REJECTED, MetricsSink
from stoker.placement.filtering import Fit, filter_node
from stoker.placement.scoring import score_node
from stoker.placement.view import NodeView, Pace, Resident, Wanted
from stoker.reasons import Reason
from stoker.wire.cluster import A_REPLICA, MAIN_CONTAINER, PodReplica
from stoker_scheduler.charges import Charges
from stoker_scheduler.explanations import Explanations, Rejected, Scored
from stoker_scheduler.protocol import Arguments, FilterResult, HostPriority, Pod

log = structlog.get_logger(__name__)

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
        passed: list[str] = []
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
                passed.append(name)
                continue
            (unresolvable if verdict.for_ever else failed)[name] = f"{verdict.reason.value}: {verdict.detail}"
            rejected.append(Rejected(node=name, reason=verdict.reason.value, detail=verdict.detail))
        pod = _pod_key(arguments.pod)
        self._explanations.filtered(pod, wanted.function, len(passed), rejected)
        for reason, count in Counter(each.reason for each in rejected).items():
            self._metrics.inc(PLACEMENTS_REJECTED, reason, amount=count)
        if len(passed) == 1:
            # kube-scheduler asks for no scores then: the choice is made.
            self._charges.charge(passed[0], _resident(wanted), now_us)
        if not passed:
            log.info("pod_fits_nowhere", pod=pod, function=wanted.function, nodes=len(names))
        return FilterResult(node_names=tuple(passed), failed=failed, unresolvable=unresolvable)

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
        scored: list[Scored] = []
        priorities: list[HostPriority] = []
        for name in names:
            view = self._view(name, wanted)
            fit = None if view is None else filter_node(wanted, view, cross_tenant)
            if view is None or not isinstance(fit, Fit):
                # It stopped fitting between the two calls.
                priorities.append(HostPriority(host=name, score=0))
                continue
            score = score_node(wanted, view, fit, self._ledger.pace(wanted, name))
            scored.append(Scored(node=name, score=score))
            priorities.append(HostPriority(host=name, score=score.points))
        pod = _pod_key(arguments.pod)
        self._explanations.scored(pod, scored)
        if scored:
            best = min(scored, key=lambda s: (-s.score.points, s.node))
            self._charges.charge(best.node, _resident(wanted), self._clock_us())
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
        return priorities

    def _view(self, name: str, wanted: Wanted) -> NodeView | None:
        view = self._ledger.node(name)
        if view is None:
            return None
        charged = tuple(r for r in self._charges.on(name, but=wanted.pod_uid) if r.count)
        if not charged:
            return view
        return msgspec.structs.replace(view, unplaced=(*view.unplaced, *charged))

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


def _resident(wanted: Wanted) -> Resident:
    """The pod as one that is on a node already. A CPU replica holds no GPU there: count 0."""
    option = wanted.options[0] if wanted.options else None
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
