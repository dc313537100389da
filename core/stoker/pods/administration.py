"""What the GpuPolicy says about pods, put into a pod: its Pod Security level and its pool. It acts live. Pure.

A stored template carries the mark of the policy that it was built under. Where that still holds the template is used
as it is; where the administrator changed it, later pods of the same revision follow: one who lets a namespace's images
run as root should not have to ask its teams for a new revision of each function. Running pods are left alone.
"""

from typing import Any

import msgspec

from stoker import names
from stoker.model.policy import PodSecurity
from stoker.pods import scheduling
from stoker.pods.params import PodParams
from stoker.pods.security import container_security_context
from stoker.wire.cluster import GROUP, MAIN_CONTAINER

A_POLICY = f"{GROUP}/policy"
"""Annotation of pods and templates: the mark of the policy that they were made under."""
_OF_THE_POOL = ("nodeSelector", "tolerations", "runtimeClassName", "priorityClassName")


def policy_mark(params: PodParams) -> str:
    """The same for policies that mean the same for a pod."""
    return names.revision_of(msgspec.json.encode((params.rule.pod_security, params.pool), order="deterministic"))


def administer(pod: dict[str, Any], params: PodParams, *, has_gpu: bool) -> None:
    """Make the pod or template follow the policy, whatever it followed before."""
    pod["metadata"].setdefault("annotations", {})[A_POLICY] = policy_mark(params)
    spec, level = pod["spec"], params.rule.pod_security
    for field in _OF_THE_POOL:
        spec.pop(field, None)
    spec |= scheduling.pool_fields(params.pool, has_gpu=has_gpu)
    context = spec.setdefault("securityContext", {})
    if level is PodSecurity.RESTRICTED:
        context["runAsNonRoot"] = True
    else:
        context.pop("runAsNonRoot", None)
    for container in spec["containers"]:
        if container["name"] == MAIN_CONTAINER:
            container["securityContext"] = container_security_context(level)
