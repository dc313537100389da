"""What was measured of the functions that run, as plan() is shown it. For shells that hold the Predictions."""

from collections.abc import Iterable, Mapping

from stoker.model.demand import Demand
from stoker.model.function import Function, Variant
from stoker.model.replica import ReplicaStatus
from stoker.prediction import Predictions
from stoker.sizing.service_time import ServiceTime


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


def service(
    predictions: Predictions, functions: Mapping[str, Function], replicas: Iterable[ReplicaStatus], demand: Demand
) -> dict[str, dict[Variant, ServiceTime]]:
    """Execution times of the pairs that have replicas or that somebody waits for (Observed.service)."""
    pairs = [(replica.spec.function, replica.spec.variant) for replica in replicas]
    pairs += [(key, variant) for key, by in demand.items() for variant, wanted in by.items() if wanted.in_system]
    found: dict[str, dict[Variant, ServiceTime]] = {}
    for key, variant in dict.fromkeys(pairs):
        function = functions.get(key)
        if function is not None and variant in function.variants:
            measured = predictions.service(key, variant)
            if measured is not None:
                found.setdefault(key, {})[variant] = measured
    return found
