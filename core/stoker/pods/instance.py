"""From a stored template to the pod of one replica: name, owner, and the few values that act live. Pure."""

import copy
from typing import Any

import msgspec

from stoker import names
from stoker.errors import InvalidObject
from stoker.model.function import Function
from stoker.pods import timing
from stoker.pods.administration import A_POLICY, administer, policy_mark
from stoker.pods.objects import object_metadata
from stoker.pods.params import PodParams
from stoker.wire import cluster


def instantiate(
    template: dict[str, Any], *, function: Function, replica_id: str, params: PodParams | None = None
) -> dict[str, Any]:
    """The pod of a replica. `function` is the function as it is now; its revision may be newer than the template's.
    `params` are those that hold now; None: as when the template was built.

    InvalidObject where template, function and replica do not belong together.
    """
    replica, stored = names.parse_replica_id(replica_id), replica_of(template)
    if replica.function != function.key or replica.revision != stored.revision:
        raise InvalidObject("", f"{replica_id} is no replica of revision {stored.revision} of {function.key}")
    pod = copy.deepcopy(template)
    container = function.container_of(stored.variant) if stored.variant in function.variants else None
    readiness_path = stored.readiness_path
    if container is not None and function.revision == stored.revision:
        # These act live; a template of an older revision keeps its own, which its program answers to.
        timing.set_times(pod["spec"], container, function.spec.timeout_us)
        readiness_path = container.readiness.path
    if params is not None and pod["metadata"]["annotations"].get(A_POLICY) != policy_mark(params):
        administer(pod, params, has_gpu=bool(stored.options))
    told = msgspec.structs.replace(
        stored,
        id=replica_id,
        function_uid=function.uid,
        ordinal=replica.ordinal,
        readiness_path=readiness_path,
    )
    metadata = pod["metadata"]
    annotations = metadata["annotations"] | {cluster.A_REPLICA: msgspec.json.encode(told).decode()}
    metadata |= object_metadata(function, names.pod_name(replica_id), metadata["labels"])
    metadata["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}


def replica_of(pod: dict[str, Any]) -> cluster.PodReplica:
    """What the annotation of a pod or template says. InvalidObject where there is none that can be read."""
    text = (pod.get("metadata", {}).get("annotations") or {}).get(cluster.A_REPLICA)
    try:
        return msgspec.json.decode(text or "", type=cluster.PodReplica)
    except msgspec.DecodeError as error:
        raise InvalidObject(f"metadata.annotations[{cluster.A_REPLICA}]", f"says no replica: {error}") from None
