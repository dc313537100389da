"""How long the kubelet waits, in whole seconds: for a replica to start, to answer its liveness probe, and to end.

These come from fields that act live (timeout, startupTimeout), so they are set anew on each pod of a stored template.
"""

from typing import Any

from stoker.model.container import ContainerSpec, Probe

_S = 1_000_000
STARTUP_PERIOD_S = 5
LIVENESS_PERIOD_S = 10
_LEAST_FAILURES = 3


def set_times(spec: dict[str, Any], container: ContainerSpec, timeout_us: int) -> None:
    """Put the times into the spec of a pod; probes that it has not are not added."""
    # A delete from outside takes effect at once, and what was dispatched may still end.
    spec["terminationGracePeriodSeconds"] = seconds(timeout_us) + seconds(container.termination_grace_us)
    main = spec["containers"][0]
    if "startupProbe" in main:
        failures = -(-container.startup_timeout_us // (STARTUP_PERIOD_S * _S)) + 1
        main["startupProbe"]["failureThreshold"] = failures
    if "livenessProbe" in main:
        # A replica that does one thing at a time cannot answer while a request runs, and that is no reason to kill it.
        failures = -(-timeout_us // (LIVENESS_PERIOD_S * _S))
        main["livenessProbe"]["failureThreshold"] = max(_LEAST_FAILURES, failures)


def probes(container: ContainerSpec) -> dict[str, Any]:
    """`startupProbe` and `livenessProbe`, where a liveness is asked for. The agent alone probes readiness."""
    if container.liveness is None:
        return {}
    return {
        "startupProbe": _probe(container, container.liveness, STARTUP_PERIOD_S),
        "livenessProbe": _probe(container, container.liveness, LIVENESS_PERIOD_S),
    }


def _probe(container: ContainerSpec, liveness: Probe, period_s: int) -> dict[str, Any]:
    kind, where = ("tcpSocket", {}) if liveness.path is None else ("httpGet", {"path": liveness.path})
    return {
        kind: {**where, "port": container.port},
        "periodSeconds": period_s,
        "timeoutSeconds": period_s,
        # Of its own: the pod's would let a replica that hangs hold its device for the whole timeout.
        "terminationGracePeriodSeconds": max(1, seconds(container.termination_grace_us)),
    }


def seconds(us: int) -> int:
    """Whole seconds, rounded up."""
    return -(-us // _S)
