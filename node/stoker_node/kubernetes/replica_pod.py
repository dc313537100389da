"""What a pod of this node says of a replica, judged once: which one it is, where it listens, and how far it is.

Pure. A pod proves nothing by its labels: it is a replica only if the function that it names owns it, both by the uid
that the API server knows, and its own name is the one that its replica id makes.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from stoker.errors import InvalidObject
from stoker.names import parse_replica_id, pod_name
from stoker.reasons import Reason
from stoker.wire.cluster import A_REPLICA, API_VERSION, GROUP, MAIN_CONTAINER, WAIT_CONTAINER, PodReplica
from stoker_node.kubernetes.objects import ContainerStatus, Pod

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
    """Why it failed, where it ended by itself. REPLICA_FAILED also for one that succeeded: replicas do not end."""
    acknowledged: bool = False
    """The kubelet has written a status for this very pod."""
    gated: bool = False
    """An init container holds its process back until the grant."""
    runs: bool = False
    """Its main container runs, as far as the API server knows."""
    life: int = 0
    """Number of the life of its main container: one more when it ends and starts again."""

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
    main = next((one for one in status.container_statuses or () if one.name == MAIN_CONTAINER), None)
    runs = main is not None and main.state.running is not None
    restarts = 0 if main is None else main.restart_count
    return ReplicaPod(
        uid=meta.uid,
        namespace=meta.namespace,
        name=meta.name,
        replica=replica,
        ip=status.pod_ip,
        leaving=meta.deletion_timestamp is not None,
        ended=_why_ended(status.phase, status.container_statuses or ()),
        acknowledged=status.start_time is not None,
        gated=any(one.name == WAIT_CONTAINER for one in pod.spec.init_containers or ()),
        runs=runs,
        # A container that does not run now is in its next life already: its calls are lost either way.
        life=restarts if runs else restarts + 1,
    )


def _why_ended(phase: str, containers: tuple[ContainerStatus, ...]) -> Reason | None:
    if phase not in _ENDED:
        return None
    ends = [one.state.terminated for one in containers if one.state.terminated is not None]
    if any(end.reason in _MEMORY_SIGNS for end in ends):
        return Reason.MEMORY_EXCEEDED
    return Reason.REPLICA_FAILED
