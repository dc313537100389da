"""Fields of a GpuFunction that are accepted and act in no mode yet, in sentences: so nothing is a silent no-op."""

from msgspec import UNSET

from stoker.wire import crd_types as wire


def warnings(spec: wire.GpuFunctionSpec) -> tuple[str, ...]:
    """One sentence for each field that acts nowhere yet."""
    said = []
    if spec.rollout.canary_percent is not UNSET:
        said.append("spec.rollout.canaryPercent does not act yet: a new revision that is ready gets all requests.")
    return tuple(said)
