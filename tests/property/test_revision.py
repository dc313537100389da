"""The revision changes with the shape of a replica, and with nothing else."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.wire.crd import decode_function

pytestmark = pytest.mark.property

BASE: dict[str, Any] = {
    "container": {"command": ["x"]},
    "gpu": {"memory": "4Gi"},
    "cpuVariant": {},
    "slo": {"latency": "250ms"},
}

LIVE: dict[str, st.SearchStrategy[Any]] = {
    "slo": st.builds(
        lambda latency, percentile: {"latency": f"{latency}ms", "percentile": percentile},
        st.integers(1, 900),
        st.floats(1, 99.9),
    ),
    "timeout": st.integers(1, 3600).map("{}s".format),
    "onPredictedMiss": st.sampled_from([["Refuse"], ["Divert"], ["Divert", "Refuse"], ["ServeLate"]]),
    "fairShare": st.integers(1, 1000),
    "priority": st.sampled_from(["Batch", "Standard", "Critical"]),
    "queue": st.builds(lambda n, size: {"maxRequests": n, "maxBytes": size}, st.integers(1, 1000), st.integers(1, 99)),
    "scaling": st.builds(
        lambda low, more, concurrency: {"minReplicas": low, "maxReplicas": low + more, "concurrency": concurrency},
        st.integers(0, 9),
        st.integers(1, 9),
        st.integers(1, 99),
    ),
    "access": st.sampled_from([{"visibility": "Public"}, {"visibility": "Public", "hostnames": ["a.example"]}]),
    "rollout": st.integers(1, 99).map(lambda s: {"progressDeadline": f"{s}s"}),
    "idempotent": st.booleans(),
    "cancelOnDisconnect": st.booleans(),
}
LIVE_IN_CONTAINER: dict[str, st.SearchStrategy[Any]] = {
    "noWakePaths": st.lists(st.sampled_from(["/a", "/b", "/c*"]), unique=True),
    "startupTimeout": st.integers(1, 99).map("{}s".format),
    "readiness": st.sampled_from([{"path": "/r"}, {"tcp": True}]),
}
LIVE_IN_VARIANT: dict[str, st.SearchStrategy[Any]] = {
    "concurrency": st.integers(1, 99),
    "maxReplicas": st.integers(1, 99),
    "readiness": st.sampled_from([{"path": "/r"}, {"tcp": True}]),
}


def revision(spec: dict[str, Any]) -> str:
    kind = {"apiVersion": "stoker.dev/v1alpha1", "kind": "GpuFunction", "metadata": {"name": "f"}}
    return decode_function({**kind, "spec": spec}).revision


@given(
    st.fixed_dictionaries({}, optional=LIVE),
    st.fixed_dictionaries({}, optional=LIVE_IN_CONTAINER),
    st.fixed_dictionaries({}, optional=LIVE_IN_VARIANT),
)
def test_fields_that_act_live_never_change_the_revision(
    live: dict[str, Any], container: dict[str, Any], variant: dict[str, Any]
) -> None:
    spec = BASE | live
    spec["container"] = BASE["container"] | container
    spec["cpuVariant"] = variant
    assert revision(spec) == revision(BASE)


SHAPE: list[tuple[tuple[str, ...], Any]] = [
    (("container", "command"), ["y"]), (("container", "image"), "i"), (("container", "args"), ["a"]),
    (("container", "env"), [{"name": "A", "value": "1"}]), (("container", "port"), 8081),
    (("container", "resources"), {"cpu": 2}), (("container", "liveness"), {"tcp": True}),
    (("container", "terminationGracePeriod"), "1s"), (("container", "shm"), "1Gi"),
    (("gpu", "memory"), "5Gi"), (("gpu", "count"), 2), (("gpu", "sharing"), "Shared"), (("gpu", "products"), ["A"]),
    (("cpuVariant", "command"), ["y"]), (("cpuVariant", "resources"), {"cpu": 2}), (("cpuVariant",), ...),
    (("gpu",), ...), (("artifacts",), [{"claim": "c", "mountPath": "/m"}]),
]  # fmt: skip


@given(st.lists(st.sampled_from(range(len(SHAPE))), min_size=1, max_size=3, unique=True))
def test_every_field_that_shapes_a_replica_changes_the_revision(chosen: list[int]) -> None:
    spec = copy.deepcopy(BASE)
    for index in chosen:
        path, value = SHAPE[index]
        if value is ...:
            spec.pop(path[0], None)
        elif len(path) == 1:
            spec[path[0]] = value
        elif path[0] in spec:
            spec[path[0]][path[1]] = value
    if "gpu" not in spec and "cpuVariant" not in spec:
        return
    if spec.get("gpu", {}).get("count") == 2 and spec["gpu"].get("sharing") == "Shared":
        return
    assert revision(spec) != revision(BASE)


@given(st.data())
def test_a_default_that_is_written_out_changes_no_revision(data: st.DataObject) -> None:
    """So a field that a later Stoker adds, with its default, restarts nothing."""
    defaults = {"port": 8080, "protocol": "HTTP1", "startupTimeout": "10m", "terminationGracePeriod": "30s"}
    names = data.draw(st.sets(st.sampled_from(sorted(defaults))))
    spec = copy.deepcopy(BASE)
    spec["container"] |= {name: defaults[name] for name in names}
    spec["gpu"] |= {"count": 1, "sharing": "Exclusive"}
    assert revision(spec) == revision(BASE)
