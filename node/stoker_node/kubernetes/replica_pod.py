"""What a pod of this node says of a replica, judged once: which one it is, where it listens, and how far it is.

Pure. A pod proves nothing by its labels: it is a replica only if the function that it names owns it, both by the uid
that the API server knows, and its own name is the one that its replica id makes.
"""

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

from stoker.errors import InvalidObject
from stoker.names import parse_replica_id, pod_name
from stoker.reasons import Reason
from stoker.wire.cluster import A_REPLICA, API_VERSION, GROUP, MAIN_CONTAINER, WAIT_CONTAINER, PodReplica
from stoker_node.kubernetes.objects import ContainerState, ContainerStatus, Pod

_ENDED = ("Succeeded", "Failed")
_MEMORY_SIGNS = ("OOMKilled",)


class ReplicaPod(Struct, frozen=True, kw_only=True):
    """One pod that is a replica."""

    uid: str
    namespace: str
    name: str
    replica: PodReplica
    ip: str = ""
    leaving: bool = False
    """Its deletion was asked for."""
    ended: Reason | None = None
    """Why it failed, where it ended by itself: as soon as its main container has, since no kubelet starts that again
    (restartPolicy Never). REPLICA_FAILED also for one that succeeded: replicas do not end.
    """
    acknowledged: bool = False
    """The kubelet has written a status for this very pod."""
    gated: bool = False
    """An init container holds its process back until the grant."""
    let_in: bool = False
    """It was held back and is not any more: some agent, perhaps a former one, granted it its devices."""

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


class NotAReplica(Struct, frozen=True):
    """Why a pod with the label of a replica is none, in one sentence."""

    why: str


def read_pod(pod: Pod, function_uids: Mapping[str, str]) -> ReplicaPod | NotAReplica:
    """Judge a pod. `function_uids` are the functions that exist, by key."""
    meta = pod.metadata
    text = (meta.annotations or {}).get(A_REPLICA)
    if text is None:
        return NotAReplica(f"it has no annotation {A_REPLICA}")
    try:
        replica = msgspec.json.decode(text, type=PodReplica)
        named = parse_replica_id(replica.id)
    except (msgspec.MsgspecError, UnicodeError, InvalidObject) as err:
        return NotAReplica(f"its annotation {A_REPLICA} cannot be read: {err}")
    problem = _mismatch(pod, replica, named.function) or _disowned(pod, replica, function_uids)
    if problem:
        return NotAReplica(problem)
    return _facts(pod, replica)


def _mismatch(pod: Pod, replica: PodReplica, function: str) -> str:
    """Why the annotation cannot be about this pod; empty when it is."""
    meta = pod.metadata
    if replica.function != function or replica.function.partition("/")[0] != meta.namespace:
        return f"its annotation names {replica.function}, of which {replica.id} in {meta.namespace} is no replica"
    if pod_name(replica.id) != meta.name:
        return f"the pod of {replica.id} is called {pod_name(replica.id)}"
    if any(option.count != replica.count or option.count < 1 or option.memory_mib < 0 for option in replica.options):
        return "its annotation names devices in numbers that cannot be"
    if replica.millicores < 0 or replica.memory_mib < 0 or not 0 < replica.port < 65536:
        return "its annotation names amounts that cannot be"
    return ""


def _disowned(pod: Pod, replica: PodReplica, function_uids: Mapping[str, str]) -> str:
    """Why no function that exists owns it; empty when one does."""
    uid = function_uids.get(replica.function)
    if uid is None:
        return f"there is no function {replica.function}"
    owners = [owner for owner in pod.metadata.owner_references or () if owner.controller]
    name = replica.function.partition("/")[2]
    for owner in owners:
        ours = owner.kind == "GpuFunction" and owner.api_version.partition("/")[0] == GROUP
        if ours and owner.name == name and owner.uid == uid == replica.function_uid:
            return ""
    return f"the function {replica.function} ({API_VERSION}, uid {uid}) does not own it"


def _facts(pod: Pod, replica: PodReplica) -> ReplicaPod:
    meta, status = pod.metadata, pod.status
    states = {one.name: one.state for one in status.container_statuses or ()}
    main = states.get(MAIN_CONTAINER, ContainerState())
    gated = any(one.name == WAIT_CONTAINER for one in pod.spec.init_containers or ())
    return ReplicaPod(
        uid=meta.uid,
        namespace=meta.namespace,
        name=meta.name,
        replica=replica,
        ip=status.pod_ip,
        leaving=meta.deletion_timestamp is not None,
        ended=_why_ended(status.phase, main, states.values()),
        acknowledged=status.start_time is not None,
        gated=gated,
        let_in=gated and (main.running is not None or _passed(status.init_container_statuses or ())),
    )


def _passed(init_containers: tuple[ContainerStatus, ...]) -> bool:
    """Whether the waiting init container ended well: what it waited for was granted, even if nothing runs yet."""
    ends = (one.state.terminated for one in init_containers if one.name == WAIT_CONTAINER)
    return any(end is not None and end.exit_code == 0 for end in ends)


def _why_ended(phase: str, main: ContainerState, states: Iterable[ContainerState]) -> Reason | None:
    if main.terminated is not None:
        ends = [main.terminated]
    elif phase in _ENDED:
        ends = [state.terminated for state in states if state.terminated is not None]
    else:
        return None
    if any(end.reason in _MEMORY_SIGNS for end in ends):
        return Reason.MEMORY_EXCEEDED
    return Reason.REPLICA_FAILED
