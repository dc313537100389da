"""The pod that brings an image to a node and keeps it there: it does nothing and mounts the image as a volume. Pure.

It runs in the function's namespace, so the kubelet checks the function's own credentials and the namespace's quota
counts it. Without the mount, image garbage collection would take the image from under it.
"""

import hashlib
from typing import Any

from stoker.model.container import ContainerSpec, Volume, VolumeKind
from stoker.model.function import Function
from stoker.model.policy import Pool
from stoker.pods import scheduling
from stoker.pods.environment import no_devices
from stoker.pods.objects import object_metadata
from stoker.pods.params import PodParams
from stoker.pods.security import own_security_context, pod_security_context
from stoker.pods.storage import volume_entry
from stoker.wire import cluster

_VOLUME = "image"
_USER = 65535
"""The user of the usual pause image."""
A_IMAGE = f"{cluster.GROUP}/image"
"""Annotation: the image that it keeps."""


def prefetch_name(function: Function, image: str, node: str) -> str:
    """The same for the same image and node, so that a second one is refused as already there."""
    digest = hashlib.sha256(f"{image}\0{node}".encode()).hexdigest()[:10]
    return f"{function.name}-image-{digest}"


def prefetch_pod(function: Function, image: str, node: str, params: PodParams) -> dict[str, Any]:
    """The pod that keeps `image` on `node` as long as it lives.

    It goes by the cluster's own scheduler and an affinity to the node: a set nodeName would pass by taints and room.
    """
    pool = params.pool or Pool(name="")
    metadata = object_metadata(
        function,
        prefetch_name(function, image, node),
        {cluster.L_FUNCTION: function.name, cluster.L_ROLE: cluster.ROLE_PREFETCH},
    )
    spec: dict[str, Any] = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, **pod_security_context(ContainerSpec())},
        "affinity": scheduling.required_node(
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        ),
        "tolerations": scheduling.tolerations_of(scheduling.GPU_TOLERATION, *pool.tolerations),
        "containers": [
            {
                "name": "pause",
                "image": params.pause_image,
                "imagePullPolicy": "IfNotPresent",
                "env": [no_devices()],
                "resources": {
                    "requests": {"cpu": "1m", "memory": "8Mi"},
                    "limits": {"memory": "8Mi"},
                },
                "volumeMounts": [{"name": _VOLUME, "mountPath": "/image", "readOnly": True}],
                "securityContext": own_security_context(_USER),
            }
        ],
        "volumes": [volume_entry(Volume(name=_VOLUME, kind=VolumeKind.IMAGE, source=image))],
    }
    secrets = function.spec.container.image_pull_secrets
    if secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in secrets]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "annotations": {A_IMAGE: image}},
        "spec": spec,
    }
