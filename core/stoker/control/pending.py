"""Why a pod is not warm yet, and whether it ever will be: from the facts of the pod to a Reason and a sentence.

Pure text work on what the API server, the kubelet and the agent say; every pod that is not warm has a reason. The texts
of Kubernetes are matched by what has been stable in them for years; one that matches nothing still gets the reason of
its phase, with the text as it came.
"""

import re

from msgspec import Struct

from stoker.reasons import Reason

Said = tuple[Reason, str]


class ContainerFacts(Struct, frozen=True, kw_only=True):
    """One container's status."""

    waiting: str = ""
    """`state.waiting.reason`."""
    message: str = ""
    """Of the waiting or terminated state."""
    running: bool = False
    exit_code: int | None = None
    """`state.terminated.exitCode`."""
    out_of_memory: bool = False
    """`state.terminated.reason` is OOMKilled."""
    restarts: int = 0


class CreateError(Struct, frozen=True, kw_only=True):
    """The API server did not take the pod."""

    status: int
    """0: it did not answer."""
    message: str = ""


class PodFacts(Struct, frozen=True, kw_only=True):
    """A pod as the operator knows it, or the attempt to create one."""

    phase: str = "Pending"
    resource: str = ""
    """The extended resource that it requests; empty for a CPU replica."""
    node: str = ""
    """Where it is bound; empty while it is not."""
    node_ready: bool = True
    nominated_node: str = ""
    gated: bool = False
    unschedulable: str = ""
    """Message of PodScheduled=False; empty when the scheduler has not judged it."""
    init: ContainerFacts = ContainerFacts()
    """The waiting init container of pods with shared devices."""
    main: ContainerFacts = ContainerFacts()
    image: str = ""
    image_present: bool | None = None
    """Whether the node has the image; None where nobody knows."""
    warning: str = ""
    """Reason of the pod's last Warning event, as in FailedMount."""
    warning_message: str = ""
    deleting: bool = False
    failed_reason: str = ""
    """`status.reason` of a Failed pod."""
    failed_message: str = ""
    create_error: CreateError | None = None
    agent_heard: bool = True
    """Whether the agent of its node speaks."""
    reported: bool = False
    """Whether that agent reports this pod."""
    unfit: str = ""
    quarantined: bool = False
    """Whether one of its devices is not healthy."""


_NEEDS_ROOT = re.compile(r"runAsNonRoot and image (?:will run as root|has non-numeric user)")
_NO_OBJECT = re.compile(
    r"(?:secret|configmap)s? \S+ not found|couldn't find key|references non-existent (?:secret|config) key",
    re.IGNORECASE,
)
_NO_IMAGE_VOLUMES = re.compile(r"image ?volume|volumes\[\d+\]\.image", re.IGNORECASE)
_QUOTA = re.compile(r"exceeded quota|must specify .* for", re.IGNORECASE)
_ENDING_NAMESPACE = re.compile(r"because it is being terminated|namespaces? .* not found", re.IGNORECASE)
_IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_MOUNT_WARNINGS = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume", "VolumeFailedMount"})
_REFUSED_BY_KUBELET = ("UnexpectedAdmissionError", "OutOf", "NodeAffinity", "NodePorts", "AppArmor", "PodOSSelector")
_LOST = frozenset({"NodeLost", "Terminated", "NodeShutdown", "Shutdown", "NodeNotReady"})
_EVICTED = frozenset({"Evicted", "Preempting", "Preempted", "DeletionByTaintManager", "EvictionByEvictionAPI"})


def why_pending(facts: PodFacts) -> Said:
    """Why the pod is not warm, the most telling fact first. Never empty."""
    if facts.create_error is not None:
        return _not_created(facts.create_error)
    if facts.deleting:
        return Reason.DELETING, "its pod is being deleted"
    failed = failure_of(facts)
    if failed is not None:
        return failed, _failed_sentence(facts)
    if not facts.node:
        return _not_bound(facts)
    if not facts.node_ready or facts.phase == "Unknown":
        return Reason.NODE_LOST, f"node {facts.node} has stopped answering"
    if facts.unfit:
        return (Reason.QUARANTINED if facts.quarantined else Reason.UNFIT_DEVICE), facts.unfit
    return _in_container(facts)


def failure_of(facts: PodFacts) -> Reason | None:
    """Why the pod has ended, or never came to be; None while it may still become warm."""
    if facts.create_error is not None:
        return _not_created(facts.create_error)[0]
    if facts.phase not in ("Failed", "Succeeded"):
        return None
    if facts.failed_reason in _EVICTED:
        return Reason.EVICTED
    if facts.failed_reason in _LOST:
        return Reason.NODE_LOST
    if facts.failed_reason.startswith(_REFUSED_BY_KUBELET):
        return Reason.ADMISSION_ERROR
    return Reason.MEMORY_EXCEEDED if facts.main.out_of_memory else Reason.START_FAILED


def _failed_sentence(facts: PodFacts) -> str:
    said = facts.failed_message or facts.main.message or facts.init.message
    if facts.failed_reason:
        return f"its pod ended with {facts.failed_reason}" + (f": {said}" if said else "")
    if facts.main.out_of_memory:
        return "its container was killed because it needed more memory than container.resources.memory gives it"
    code = facts.main.exit_code if facts.main.exit_code is not None else facts.init.exit_code
    ended = "its pod ended" if code is None else f"its container ended with exit code {code}"
    return ended + (f": {said}" if said else "")


def _not_created(error: CreateError) -> Said:
    message = error.message or "no reason was given"
    if error.status == 409:
        return Reason.NAME_CONFLICT, f"another pod has its name: {message}"
    if error.status == 403 and _QUOTA.search(message):
        return Reason.QUOTA_EXCEEDED, f"the namespace's quota does not allow its pod: {message}"
    if error.status in (403, 404) and _ENDING_NAMESPACE.search(message):
        return Reason.DELETING, f"its namespace is being deleted: {message}"
    if error.status in (400, 422) and _NO_IMAGE_VOLUMES.search(message):
        return Reason.PRE_PULL_UNSUPPORTED, f"this cluster has no image volumes: {message}"
    if error.status in (400, 401, 403, 404, 405, 413, 415, 422):
        return Reason.POD_REFUSED, f"the API server refuses its pod: {message}"
    return Reason.CONTROL_PLANE_UNAVAILABLE, f"the API server did not create its pod: {message}"


def _not_bound(facts: PodFacts) -> Said:
    if facts.gated:
        return Reason.WAITING_FOR_NODE, "its pod has a scheduling gate that somebody must remove"
    if facts.nominated_node:
        return Reason.WAITING_FOR_NODE, f"it gets node {facts.nominated_node} once those that give way there are gone"
    if not facts.unschedulable:
        return Reason.WAITING_FOR_NODE, "the scheduler has not looked at it yet"
    return _unschedulable(facts), f"the scheduler found no node: {facts.unschedulable}"


def _unschedulable(facts: PodFacts) -> Reason:
    """What the scheduler's message says: its own words, and those that the extender begins its reasons with."""
    said = facts.unschedulable
    if facts.resource:
        if f"Insufficient {facts.resource}" in said or Reason.WAITING_FOR_GPU.value in said:
            return Reason.WAITING_FOR_GPU
        if Reason.QUARANTINED.value in said:
            return Reason.QUARANTINED
    return Reason.WAITING_FOR_NODE


def _in_container(facts: PodFacts) -> Said:
    """What stands between a pod on a node and its being warm."""
    for name, container in (("its waiting container", facts.init), ("it", facts.main)):
        if container.waiting and container.waiting not in ("ContainerCreating", "PodInitializing"):
            return _waiting(facts, container, name)
    if facts.init.running:
        return Reason.WAITING_FOR_DEVICE, "the agent has not granted it its device yet"
    if facts.init.exit_code:
        return Reason.START_FAILED, f"its waiting container ended with exit code {facts.init.exit_code}"
    if facts.main.out_of_memory:
        return Reason.MEMORY_EXCEEDED, _failed_sentence(facts)
    if facts.main.exit_code is not None:
        again = f", {facts.main.restarts} times so far" if facts.main.restarts > 1 else ""
        reason = Reason.CRASH_LOOP if facts.main.restarts else Reason.START_FAILED
        return reason, f"it ended with exit code {facts.main.exit_code}{again}"
    if not facts.main.running:
        return _creating(facts)
    if not facts.agent_heard:
        return Reason.AGENT_UNAVAILABLE, f"it runs, but Stoker's agent on node {facts.node} does not answer"
    if not facts.reported:
        return Reason.INITIALISING, f"it runs, and Stoker's agent on node {facts.node} has yet to find it"
    return Reason.INITIALISING, "it runs, and its readiness probe has not passed yet"


def _waiting(facts: PodFacts, container: ContainerFacts, name: str) -> Said:
    said = container.message or facts.warning_message
    detail = f": {said}" if said else ""
    reason = container.waiting
    if reason in _IMAGE_REASONS:
        if _NO_IMAGE_VOLUMES.search(said):
            return Reason.PRE_PULL_UNSUPPORTED, f"this node has no image volumes{detail}"
        return Reason.IMAGE_PULL_FAILED, f"image {facts.image or 'of it'} cannot be pulled ({reason}){detail}"
    if reason == "CreateContainerConfigError":
        if _NEEDS_ROOT.search(said):
            return Reason.IMAGE_NEEDS_ROOT, (
                f"its image runs as root, which its namespace may not; set container.runAsUser, or let the "
                f"administrator allow podSecurity Baseline{detail}"
            )
        if "subpath" in said.lower():
            return Reason.MOUNT_FAILED, f"a volume cannot be mounted{detail}"
        if _NO_OBJECT.search(said):
            return Reason.CONFIG_MISSING, f"a Secret or ConfigMap that it names is not there{detail}"
        return Reason.START_FAILED, f"{name} cannot be configured{detail}"
    if reason == "CrashLoopBackOff":
        return Reason.CRASH_LOOP, f"{name} ends again and again, {container.restarts} times so far{detail}"
    return Reason.START_FAILED, f"{name} cannot be started ({reason}){detail}"


def _creating(facts: PodFacts) -> Said:
    """The kubelet has the pod and no container of it runs yet."""
    warned = facts.warning_message
    if facts.warning in _MOUNT_WARNINGS:
        if _NO_OBJECT.search(warned):
            return Reason.CONFIG_MISSING, f"a Secret or ConfigMap that it mounts is not there: {warned}"
        if _NO_IMAGE_VOLUMES.search(warned):
            return Reason.PRE_PULL_UNSUPPORTED, f"this node has no image volumes: {warned}"
        return Reason.MOUNT_FAILED, f"a volume cannot be mounted: {warned or facts.warning}"
    if facts.warning == "FailedCreatePodSandBox":
        return Reason.INITIALISING, f"its network or sandbox is not there yet: {warned or facts.warning}"
    if facts.image_present is False:
        return Reason.PULLING_IMAGE, f"image {facts.image} is being pulled to node {facts.node}"
    if not facts.agent_heard:
        return Reason.AGENT_UNAVAILABLE, f"it is being created, but Stoker's agent on node {facts.node} does not answer"
    return Reason.INITIALISING, f"its containers are being created on node {facts.node}"
