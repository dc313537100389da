"""Where a pod may go and what it takes there: resources, node affinity, tolerations and the administrator's pool.

Affinity is a coarse filter that cluster autoscalers understand as well; whether a device really fits is judged by facts
(stoker.placement), so it may let a node through that has none, and must never keep out one that has.
"""

from typing import Any

from stoker.errors import InvalidObject
from stoker.model.container import ContainerSpec
from stoker.model.function import GpuOption, Sharing
from stoker.model.policy import Pool, Toleration
from stoker.pods.params import PodParams
from stoker.pods.storage import mebibytes

_VENDOR = "nvidia.com"
GPU_TOLERATION = Toleration(key=f"{_VENDOR}/gpu", operator="Exists", effect="NoSchedule")
"""GPU nodes are commonly tainted so that nothing else goes there."""


def resources(container: ContainerSpec, options: tuple[GpuOption, ...], params: PodParams) -> dict[str, Any]:
    """`resources` of the function's container. No CPU limit: throttling would add to the latency of bursts."""
    requests = {"cpu": f"{container.cpu_millis}m"}
    limits: dict[str, str] = {}
    if container.memory_mib is not None:
        limits["memory"] = mebibytes(container.memory_mib)
    if params.ephemeral_storage_mib is not None:
        limits["ephemeral-storage"] = mebibytes(params.ephemeral_storage_mib)
    if options:
        limits[_resource_name(options[0], params.pool)] = str(options[0].count)
    requests |= limits
    return {"requests": requests, "limits": limits} if limits else {"requests": requests}


def placement(options: tuple[GpuOption, ...], params: PodParams) -> dict[str, Any]:
    """Fields of the pod's spec that say where it may go, but for the pool's."""
    fields: dict[str, Any] = {"schedulerName": params.scheduler_name}
    if options and params.product_label is not None and all(option.products for option in options):
        labels = [label for option in options for label in product_labels(option)]
        fields["affinity"] = required_node(
            {
                "matchExpressions": [
                    {"key": params.product_label, "operator": "In", "values": list(dict.fromkeys(labels))}
                ]
            }
        )
    return fields


def pool_fields(pool: Pool | None, *, has_gpu: bool) -> dict[str, Any]:
    """Fields of the pod's spec that the pool decides."""
    pool = pool or Pool(name="")
    tolerations = [*((GPU_TOLERATION,) if has_gpu else ()), *pool.tolerations]
    fields: dict[str, Any] = {}
    if tolerations:
        fields["tolerations"] = tolerations_of(*tolerations)
    if pool.node_selector:
        fields["nodeSelector"] = dict(pool.node_selector)
    if pool.runtime_class is not None:
        fields["runtimeClassName"] = pool.runtime_class
    if pool.priority_class is not None:
        fields["priorityClassName"] = pool.priority_class
    return fields


def required_node(term: dict[str, Any]) -> dict[str, Any]:
    """The affinity to nodes that satisfy one term."""
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


def product_labels(option: GpuOption) -> list[str]:
    """The values that NVIDIA's feature discovery may give the nodes of an option's products.

    It keeps the vendor's name in front, writes no memory where the product's name has none (Tesla-T4 is our T4-16GB),
    and marks what is shared.
    """
    marks = ("", "-SHARED") if option.sharing is Sharing.SHARED else ("",)
    values = []
    for product in option.products:
        stem, _, memory = product.rpartition("-")
        bare = [stem] if stem and memory.endswith("GB") and memory[:-2].isdigit() else []
        values += [
            value
            for name in (product, *bare)
            for prefix in ("", "NVIDIA-", "Tesla-")
            for mark in marks
            if len(value := f"{prefix}{name}{mark}") <= _LABEL_VALUE_MAX
        ]
    return values


_LABEL_VALUE_MAX = 63


def tolerations_of(*tolerations: Toleration) -> list[dict[str, Any]]:
    """Entries of `tolerations`."""
    return [
        {
            name: value
            for name, value in (
                ("key", toleration.key),
                ("operator", toleration.operator),
                ("value", toleration.value),
                ("effect", toleration.effect),
                ("tolerationSeconds", toleration.toleration_seconds),
            )
            if value not in ("", None)
        }
        for toleration in tolerations
    ]


def _resource_name(option: GpuOption, pool: Pool | None) -> str:
    """NVIDIA's resources, or what the administrator named: others may be anything that a device plugin hands out."""
    name = option.resource_name
    if name.partition("/")[0] == _VENDOR or (pool is not None and name in pool.resource_names):
        return name
    raise InvalidObject(
        "spec.gpu.resourceName",
        f"{name} is no resource of {_VENDOR}; the administrator must name it in resourceNames of a pool (GpuPolicy)",
    )
