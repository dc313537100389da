"""What of a GpuFunction does not act in embedded mode yet, in sentences: so nothing is a silent no-op.

Whatever the launcher: what only processes or only containers cannot do is told where the launcher is chosen.
Refused is what would make the function something else (a secret that is not there); warned about is what leaves it
right but does not help yet.
"""

from msgspec import UNSET

from stoker.errors import InvalidObject
from stoker.wire import crd_types as wire
from stoker.wire import not_yet


def refuse(spec: wire.GpuFunctionSpec) -> None:
    """Raise InvalidObject for what cannot be served without a cluster."""
    if spec.container.protocol == "GRPC":
        raise InvalidObject("spec.container.protocol", "GRPC is not served in embedded mode yet; use HTTP1")
    variant = spec.cpu_variant
    variant_env = () if variant is UNSET else variant.env or ()
    for path, env in (("spec.container.env", spec.container.env or ()), ("spec.cpuVariant.env", variant_env)):
        for index, item in enumerate(env):
            if item.value_from is not UNSET:
                raise InvalidObject(
                    f"{path}[{index}].valueFrom",
                    "there are no Secrets and ConfigMaps in embedded mode; give value instead",
                )


def warnings(spec: wire.GpuFunctionSpec) -> tuple[str, ...]:
    """One sentence for each field that is accepted and does not act in embedded mode yet."""
    said = []
    gpu = spec.gpu
    if gpu is not UNSET and (
        gpu.resource_name is not UNSET or any(kind.resource_name is not UNSET for kind in gpu.any_of or ())
    ):
        said.append("spec.gpu.resourceName acts on Kubernetes only: here devices are found by memory and product.")
    if spec.access != wire.Access():
        said.append("spec.access does not act here yet: everyone who reaches the port may call the function.")
    return (*said, *not_yet.warnings(spec))
