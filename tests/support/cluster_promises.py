"""What tests on a cluster look at admission, tickets, device choice and cost with: a gateway, metrics, the policy."""

import contextlib
import re
import time
from collections.abc import Iterator
from typing import Any

from cluster_under_test import GROUP, SYSTEM, VERSION, Answer, ClusterUnderTest, Pod, call_at

POLICIES, DEFAULT = "gpupolicies", "default"
PORT = 8080
APART_S = 0.03
_SAMPLE = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_SCRAPE = (
    "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9090/metrics', timeout=10).read().decode())"
)


class Promises:
    """Needs a machine with a route to the pods, as that of dev/cluster has."""

    def __init__(self, under_test: ClusterUnderTest) -> None:
        self._cluster = under_test

    def at(self, gateway: Pod, namespace: str, name: str, path: str = "/", **how: Any) -> Answer:
        """A call to this very gateway."""
        address = (str(gateway.status.pod_ip), PORT)
        return call_at(address, f"{name}.{namespace}.svc.cluster.local", path, **how)

    def burst(self, gateway: Pod, namespace: str, name: str, path: str, count: int, **how: Any) -> list[Answer]:
        """So many, one soon after the other: for a moment a gateway refuses by itself what its agent would refuse."""
        calls = []
        for _ in range(count):
            calls.append(self._cluster.submit(self.at, gateway, namespace, name, path, **how))
            time.sleep(APART_S)
        return [call.result(timeout=60) for call in calls]

    def record(self, gateway: Pod, answer: Answer) -> dict[str, Any]:
        """What the gateway that gave an answer remembers of its request."""
        return self._cluster.ask_internal(gateway, f"/v1/requests/{answer.headers['stoker-request-id']}")

    def counted(self, component: str, metric: str, **labels: str) -> float:
        """The sum of a metric over all pods of a component, where these labels have these values."""
        total = 0.0
        for pod in self._cluster.component_pods(component):
            for line in self._cluster.run_in(SYSTEM, pod.metadata.name, ["python", "-c", _SCRAPE]).splitlines():
                sample = _SAMPLE.match(line)
                if sample is None or sample["name"] != metric:
                    continue
                found = dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"] or ""))
                if labels.items() <= found.items():
                    total += float(sample["value"])
        return total

    @contextlib.contextmanager
    def policy(self, **spec: Any) -> Iterator[None]:
        """The GpuPolicy with these fields of its spec, and afterwards as it was."""
        custom = self._cluster.custom
        before = custom.get_cluster_custom_object(GROUP, VERSION, POLICIES, DEFAULT).get("spec", {})
        self._patch(spec)
        try:
            yield
        finally:
            self._patch({key: before.get(key) for key in spec})

    def _patch(self, spec: dict[str, Any]) -> None:
        self._cluster.custom.patch_cluster_custom_object(GROUP, VERSION, POLICIES, DEFAULT, {"spec": spec})


def when(answer: Answer) -> float:
    """The instant, on the monotonic clock, for which a refusal told its client to come back."""
    return answer.ended_s + int(answer.headers["stoker-retry-after-ms"]) / 1000


def wait_for(at_s: float) -> None:
    """Sleep until then."""
    time.sleep(max(0.0, at_s - time.monotonic()))
