"""Whatever a function says: it is refused with a sentence, or its pods have nothing forbidden."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pod_shapes import decoded, document_of, params, pod_of

from stoker.errors import InvalidObject
from stoker.model.policy import PodSecurity
from stoker.pods.forbidden import forbidden

pytestmark = pytest.mark.property

WORDS = st.text("ab/.-_:$(@)~ \0", min_size=1, max_size=6) | st.sampled_from(
    ["LD_PRELOAD", "NVIDIA_VISIBLE_DEVICES", "HOME", "/proc", "/tmp", "/dev/shm", "/data", "stoker-tmp", "v", "w", "a"]
)
NAMES = st.sampled_from(["v", "w", "stoker-home"])
SOURCES = st.sampled_from(
    [{"emptyDir": {}}, {"secret": {"name": "s"}}, {"image": {"reference": "a/b:1"}}, {"hostPath": {"path": "/"}}]
)
CONTAINER: dict[str, st.SearchStrategy[Any]] = {
    "image": WORDS | st.just("a/b:1"),
    "command": st.lists(WORDS, min_size=1, max_size=2),
    "env": st.lists(st.builds(lambda name, value: {"name": name, "value": value}, WORDS, WORDS), max_size=2),
    "port": st.integers(1, 70_000),
    "metricsPort": st.integers(1, 70_000),
    "runAsUser": st.integers(0, 2),
    "fsGroup": st.integers(0, 2),
    "serviceAccountName": st.sampled_from(["admin", "runner", "a/b"]),
    "volumes": st.lists(st.builds(lambda name, source: {"name": name, **source}, NAMES, SOURCES), max_size=2),
    "mounts": st.lists(st.builds(lambda name, path: {"name": name, "mountPath": path}, NAMES, WORDS), max_size=2),
    "shm": st.sampled_from(["1Gi", "999999999Ti", "-1Gi"]),
    "liveness": st.sampled_from([{"tcp": True}, {"path": "/x"}, {"exec": {}}]),
}


# Few fields at a time: with all of them at once hardly any function would be accepted.
CHANGES = st.lists(st.sampled_from(sorted(CONTAINER)), max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: CONTAINER[name] for name in names})
)


@given(
    CHANGES,
    st.dictionaries(WORDS, WORDS, max_size=2),
    st.sampled_from(PodSecurity),
)
def test_no_pod_of_any_function_has_anything_forbidden(
    container: dict[str, Any], labels: dict[str, str], level: PodSecurity
) -> None:
    document = document_of(container=container, spec={"cpuVariant": {}}, metadata={"labels": labels})
    try:
        function = decoded(document)
        pods = [pod_of(function, variant, params(level, label_prefixes=("",))) for variant in function.variants]
    except InvalidObject:
        return
    for pod in pods:
        assert forbidden(pod, level=level, allowed_service_accounts=("runner",)) is None
        env = [item["name"] for item in pod["spec"]["containers"][0]["env"]]
        assert len(set(env)) == len(env)
        paths = [mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]]
        assert len(set(paths)) == len(paths)
        assert not any(path.startswith(("/proc", "/sys")) for path in paths)
