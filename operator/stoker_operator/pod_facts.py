"""What a pod says of its start and of its end, as facts for the core, which makes reasons of them. Pure."""

from stoker.control import pending
from stoker.control.pending import ContainerFacts, PodFacts
from stoker.control.planning import Failure
from stoker.reasons import Reason
from stoker.wire.cluster import MAIN_CONTAINER, WAIT_CONTAINER
from stoker_operator.kinds import ContainerStatus, Pod
from stoker_operator.ledger import Nodes
from stoker_operator.pod_view import ReplicaPod
from stoker_operator.pod_warnings import NOTHING, Warned

_GATED = "SchedulingGated"


def waiting_of(view: ReplicaPod, nodes: Nodes, warned: Warned = NOTHING) -> tuple[Reason, str] | None:
    """Why a pod that is not warm is not; None for one of which only its agent's report is of interest."""
    return pending.why_pending(facts_of(view, nodes, warned))


def failure_of(view: ReplicaPod, nodes: Nodes, now_us: int) -> Failure:
    """What is to be counted of a pod that has ended."""
    facts = facts_of(view, nodes)
    warm_us = None if view.warm_since_us is None else max(0, now_us - view.warm_since_us)
    reason = pending.failure_of(facts) or Reason.REPLICA_FAILED
    if reason is Reason.START_FAILED and warm_us is not None:
        reason = Reason.REPLICA_FAILED  # it had started
    replica = view.replica
    return Failure(
        function=replica.function,
        variant=replica.variant,
        revision=replica.revision,
        replica_id=replica.id,
        at_us=now_us,
        reason=reason,
        detail=pending.why_pending(facts)[1],
        warm_us=warm_us,
    )


def facts_of(view: ReplicaPod, nodes: Nodes, warned: Warned = NOTHING) -> PodFacts:
    """Everything that is known of a pod; `warned` is the last Warning event about it."""
    pod, node_name = view.pod, view.node
    status = pod.status
    node = nodes.node(node_name)
    scheduled = status.condition("PodScheduled")
    refused = scheduled is not None and scheduled.status == "False"
    image = _image(pod)
    heard = view.heard
    return PodFacts(
        phase=status.phase,
        resource=view.replica.options[0].resource_name if view.replica.options else "",
        node=node_name,
        # A node that is not known yet is new, not lost.
        node_ready=node is None or node.ready,
        nominated_node=status.nominated_node_name,
        gated=refused and scheduled is not None and scheduled.reason == _GATED,
        unschedulable=scheduled.message or scheduled.reason if refused and scheduled is not None else "",
        init=_container(status.init_container_statuses, WAIT_CONTAINER),
        main=_container(status.container_statuses, MAIN_CONTAINER),
        image=image,
        image_present=nodes.has_image(node_name, image),
        warning=warned[0],
        warning_message=warned[1],
        deleting=view.ending,
        failed_reason=status.reason,
        failed_message=status.message,
        agent_heard=nodes.is_heard(node_name),
        reported=heard is not None,
        unfit="" if heard is None else heard.report.unfit,
        quarantined=heard is not None and nodes.is_any_sick(node_name, heard.report.devices),
    )


def _image(pod: Pod) -> str:
    return next((c.image for c in pod.spec.containers if c.name == MAIN_CONTAINER), "")


def _container(statuses: tuple[ContainerStatus, ...], name: str) -> ContainerFacts:
    status = next((each for each in statuses if each.name == name), None)
    if status is None:
        return ContainerFacts()
    state = status.state
    message = ""
    for said in (state.waiting, state.terminated):
        if said is not None and said.message:
            message = said.message.strip()
    return ContainerFacts(
        waiting="" if state.waiting is None else state.waiting.reason,
        message=message,
        running=state.running is not None,
        exit_code=None if state.terminated is None else state.terminated.exit_code,
        out_of_memory=state.terminated is not None and state.terminated.reason == "OOMKilled",
        restarts=status.restart_count,
    )
