"""What was measured of the functions that run, as plan() is shown it. For shells that hold the Predictions."""

from collections.abc import Iterable, Mapping

from stoker.model.function import Function, Variant
from stoker.model.replica import ReplicaStatus
from stoker.prediction import Predictions


def exec_us(
    predictions: Predictions, functions: Mapping[str, Function], replicas: Iterable[ReplicaStatus]
) -> dict[str, dict[Variant, int]]:
    """Measured execution times of the pairs that have replicas (Observed.exec_us)."""
    found: dict[str, dict[Variant, int]] = {}
    for key, variant in dict.fromkeys((replica.spec.function, replica.spec.variant) for replica in replicas):
        function = functions.get(key)
        if function is None or variant not in function.variants:
            continue
        estimate = predictions.exec_us(function, variant)
        if estimate.samples:
            found.setdefault(key, {})[variant] = estimate.us
    return found
