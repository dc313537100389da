"""A real cluster with the chart installed, as tests see it: through the API server, the gateways' Service and pods.

Talks by the official client. What only a cluster of ours allows (ending a kubelet, giving an image to one node) is in
cluster_of_ours.py.
"""

import base64
import contextlib
import http.client
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

from cluster import fake_nodes, images, release

SYSTEM = release.NAMESPACE
GROUP, VERSION, PLURAL = "stoker.dev", "v1alpha1", "gpufunctions"
REPLICAS = "stoker.dev/role=replica"
CALLER = "caller"
NOT_WORKERS = {"node-role.kubernetes.io/control-plane", fake_nodes.MARK}
USUAL = ("gpus=2", "shares=1", "prefer=spread", "allocate=ok")
T = TypeVar("T")
Pod = Any
"""The client types every field of every object as optional, which says nothing here."""


@dataclass(frozen=True)
class Answer:
    """What came back to one call; status 0 when the connection broke, with `text` saying how."""

    status: int
    headers: Mapping[str, str]
    text: str
    began_s: float
    seconds: float

    @property
    def value(self) -> Any:
        return json.loads(self.text)

    @property
    def pod(self) -> str:
        """Which replica answered (echo-function says it)."""
        return str(self.value["pod"])

    @property
    def ended_s(self) -> float:
        return self.began_s + self.seconds

    @property
    def was_cold(self) -> bool:
        return self.headers.get("stoker-cold-start") == "1"


class ClusterUnderTest:
    """One for the session."""

    def __init__(self, kubeconfig: Path, way_in: tuple[str, int]) -> None:
        self.kubeconfig = kubeconfig
        self._way_in = way_in
        cast(Any, config).load_kube_config(str(kubeconfig))
        self.core: Any = client.CoreV1Api()
        self.apps: Any = client.AppsV1Api()
        self.custom: Any = client.CustomObjectsApi()
        # KWOK's nodes run nothing, and control planes of other clusters take no pods.
        nodes: list[Any] = [each.metadata for each in self.core.list_node().items]
        names: list[str] = sorted(each.name for each in nodes if not (each.labels.keys() & NOT_WORKERS))
        self.first, self.second = names[:2]
        self.coordination: Any = client.CoordinationV1Api()
        self._pool = ThreadPoolExecutor(32)
        self._arranged: dict[str, tuple[str, ...]] = {}

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    # Functions.

    def apply(self, namespace: str, name: str, **spec: Any) -> dict[str, Any]:
        """A function with the echo server; keywords are fields of its spec, `container` and `env` are merged in."""
        body = function(namespace, name, **spec)
        made: dict[str, Any] = self.custom.create_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, body)
        return made

    def change(self, namespace: str, name: str, **spec: Any) -> None:
        """Merge into the spec."""
        self.custom.patch_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name, {"spec": spec})

    def status(self, namespace: str, name: str) -> dict[str, Any]:
        item = self.custom.get_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name)
        return dict(item.get("status", {}))

    def condition(self, namespace: str, name: str, kind: str = "Ready") -> dict[str, Any]:
        """Empty while there is none."""
        found = self.status(namespace, name).get("conditions", [])
        return next((each for each in found if each["type"] == kind), {})

    def wait_ready(self, namespace: str, name: str, *, reason: str = "", timeout_s: float = 30.0) -> None:
        def is_so() -> bool:
            ready = self.condition(namespace, name)
            return ready.get("status") == "True" and reason in ("", ready["reason"])

        wait_until(f"{namespace}/{name} is Ready {reason}", is_so, timeout_s, lambda: self.condition(namespace, name))

    def wait_warm(self, namespace: str, name: str, count: int, timeout_s: float = 40.0) -> None:
        """By its status. Once reached, that many replicas answer."""

        def warm() -> bool:
            return bool(self.status(namespace, name).get("replicas", {}).get("warm", 0) == count)

        def seen() -> object:
            return self.status(namespace, name).get("replicas"), self.condition(namespace, name)

        wait_until(f"{namespace}/{name} has {count} warm replicas", warm, timeout_s, seen)

    def replica_pods(self, namespace: str, name: str = "") -> list[Pod]:
        """Pods of replicas, those included that are going."""
        selector = f"{REPLICAS},stoker.dev/function={name}" if name else REPLICAS
        found: list[Pod] = self.core.list_namespaced_pod(namespace, label_selector=selector).items
        return found

    def node_of(self, namespace: str, pod: str) -> str:
        return str(self.core.read_namespaced_pod(pod, namespace).spec.node_name)

    def node(self, name: str) -> dict[str, Any]:
        """Status of the FunctionNode."""
        return dict(self.custom.get_cluster_custom_object(GROUP, VERSION, "functionnodes", name).get("status", {}))

    # Calls.

    def call(self, namespace: str, name: str, path: str = "/", **how: Any) -> Answer:
        """From outside the cluster, under the function's own URL."""
        return call_at(self._way_in, f"{name}.{namespace}.svc.cluster.local", path, **how)

    def begin(self, namespace: str, name: str, path: str = "/", **how: Any) -> "Future[Answer]":
        """The same, not waited for."""
        return self.submit(self.call, namespace, name, path, **how)

    def submit(self, work: Callable[..., T], *arguments: Any, **how: Any) -> "Future[T]":
        """Run something beside the test."""
        return self._pool.submit(work, *arguments, **how)

    @contextlib.contextmanager
    def calling(
        self, namespace: str, name: str, path: str = "/", *, at_once: int = 2, pause_s: float = 0.05, **how: Any
    ) -> Iterator[list[Answer]]:
        """Calls without end as long as the block runs; the list has every answer once it is left."""
        answers: list[Answer] = []
        running = True

        def go_on() -> None:
            while running:
                answers.append(self.call(namespace, name, path, **how))
                time.sleep(pause_s)

        callers = [self._pool.submit(go_on) for _ in range(at_once)]
        try:
            yield answers
        finally:
            running = False
            for caller in callers:
                caller.result(timeout=100)

    def call_from_pod(self, namespace: str, url: str, timeout_s: float = 40.0) -> tuple[int, str]:
        """Status and body of a GET from the pod `caller` of a namespace; status 0 with the error when none came."""
        program = (
            "import sys, urllib.request, urllib.error\n"
            "try: answer = urllib.request.urlopen(sys.argv[1], timeout=float(sys.argv[2]))\n"
            "except urllib.error.HTTPError as error: answer = error\n"
            "except OSError as error: print(0); print(error); sys.exit()\n"
            "print(answer.status); print(answer.read().decode())\n"
        )
        said = self.run_in(namespace, CALLER, ["python", "-c", program, url, str(timeout_s)])
        status, _, body = said.partition("\n")
        return int(status), body.strip()

    def start_caller(self, namespace: str, **spec: Any) -> Pod:
        """A pod without rights to call from; waits until it runs."""
        container = {
            "name": CALLER,
            "image": image("stoker"),
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "-c", "import signal; signal.signal(15, lambda *_: exit()); signal.pause()"],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        pod_spec = {
            "containers": [container],
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "terminationGracePeriodSeconds": 1,
            **spec,
        }
        self.core.create_namespaced_pod(namespace, {"metadata": {"name": CALLER}, "spec": pod_spec})

        def running() -> bool:
            return bool(self.core.read_namespaced_pod(CALLER, namespace).status.phase == "Running")

        wait_until("the pod to call from runs", running, 30)
        return self.core.read_namespaced_pod(CALLER, namespace)

    # Stoker's own pods, and what is simulated.

    def component_pods(self, component: str) -> list[Pod]:
        """Those that are not going."""
        selector = f"app.kubernetes.io/name=stoker,app.kubernetes.io/component={component}"
        found = self.core.list_namespaced_pod(SYSTEM, label_selector=selector).items
        return [pod for pod in found if pod.metadata.deletion_timestamp is None]

    def component_on(self, component: str, node: str) -> Pod:
        return next(pod for pod in self.component_pods(component) if pod.spec.node_name == node)

    def kill(self, pod: Pod, grace_s: int | None = 0) -> None:
        """Delete a pod of Stoker's own; None: with its own grace."""
        extra = {} if grace_s is None else {"grace_period_seconds": grace_s}
        self.core.delete_namespaced_pod(pod.metadata.name, SYSTEM, **extra)

    def wait_whole(self, timeout_s: float = 60.0) -> None:
        """All of Stoker's own pods are there and Ready, and no other."""

        def whole() -> bool:
            deployments = self.apps.list_namespaced_deployment(SYSTEM).items
            daemons = self.apps.list_namespaced_daemon_set(SYSTEM).items
            pods = self.core.list_namespaced_pod(SYSTEM, label_selector="app.kubernetes.io/name=stoker").items
            wanted = sum(each.spec.replicas for each in deployments)
            wanted += sum(each.status.desired_number_scheduled for each in daemons)
            ready = [pod for pod in pods if is_ready(pod)]
            return len(ready) == wanted and not any(pod.metadata.deletion_timestamp for pod in ready)

        wait_until("all pods of Stoker are Ready", whole, timeout_s, self.system_pods)

    def system_pods(self) -> list[str]:
        pods = self.core.list_namespaced_pod(SYSTEM).items
        return [f"{pod.metadata.name} {pod.status.phase} {'ready' if is_ready(pod) else 'unready'}" for pod in pods]

    def leader(self) -> Pod:
        """The operator that holds the Lease."""
        lease = self.coordination.read_namespaced_lease("stoker-operator", SYSTEM)
        name = str(lease.spec.holder_identity).partition("_")[0]
        return self.core.read_namespaced_pod(name, SYSTEM)

    def gpus(self, node: str, *words: str) -> str:
        """`python -m gpus WORDS` where the simulated GPUs of a node are."""
        pod = self.component_on("simulated-gpus", node)
        return self.run_in(SYSTEM, pod.metadata.name, ["python", "-m", "gpus", *words])

    def arrange(self, wanted: Mapping[str, tuple[str, ...]]) -> None:
        """Give nodes these GPUs: words of `python -m gpus set` on top of the usual ones, for each node.

        Does nothing where they are so already. An agent reads at its start which GPUs there are, so it begins anew, as
        after a change of hardware.
        """
        for node, words in wanted.items():
            if self._arranged.get(node) == words:
                continue
            self.disturbed(node)
            self.gpus(node, "set", *USUAL)
            self.gpus(node, "set", "*.memory=40Gi", "*.used-mib=0", "*.health=ok", "*.recovery-action=0", *words)
            facts = self.gpu_facts(node)
            allocatable = len(facts) * int(self._gpu_word(node, "shares"))

            def offered(node: str = node, allocatable: int = allocatable) -> bool:
                listed = self.core.read_node(node).status.allocatable or {}
                return int(listed.get("nvidia.com/gpu", "0")) == allocatable

            wait_until(f"{node} offers {allocatable} of nvidia.com/gpu", offered, 30)
            self.kill(self.component_on("node", node), grace_s=1)

            def told(node: str = node, facts: dict[str, int] = facts) -> bool:
                return {each["id"]: each["memoryMib"] for each in self.node_gpus(node) if each["healthy"]} == facts

            wait_until(f"the agent of {node} tells of its GPUs", told, 60, lambda: self.node(node))  # noqa: B023
            self._arranged[node] = words
        self.wait_whole()

    def disturbed(self, node: str) -> None:
        """A test changes the GPUs of a node live: whoever comes next arranges them anew."""
        self._arranged.pop(node, None)

    def node_gpus(self, node: str) -> list[dict[str, Any]]:
        return [each for each in self.node(node).get("devices", ()) if each["kind"] == "gpu"]

    def gpu_facts(self, node: str) -> dict[str, int]:
        """UUID to memory in MiB, in the order of their indices."""
        found: dict[str, int] = {}
        for line in self.gpus(node, "show").splitlines():
            words = line.split()
            if words[:1] == ["gpu"]:
                uuid = words[1]
            elif line.startswith("  memory-mib"):
                found[uuid] = int(words[1])
        return found

    def _gpu_word(self, node: str, key: str) -> str:
        lines = (line.split() for line in self.gpus(node, "show").splitlines())
        return next(words[1] for words in lines if words[:1] == [key])

    def explain_placement(self, namespace: str, pod: str) -> dict[str, Any]:
        """What the scheduler extender says about a pod."""
        return self.ask_internal(self.component_pods("scheduler")[0], f"/v1/explain/{namespace}/{pod}", "scheduler")

    def ask_internal(self, pod: Pod, path: str, container: str = "") -> dict[str, Any]:
        """A path of a component's internal listener, asked from inside its pod."""
        program = (
            "import sys, urllib.request\n"
            "print(urllib.request.urlopen('http://127.0.0.1:9090' + sys.argv[1], timeout=10).read().decode())\n"
        )
        said = self.run_in(SYSTEM, pod.metadata.name, ["python", "-c", program, path], container)
        found: dict[str, Any] = json.loads(said)
        return found

    def run_in(self, namespace: str, pod: str, command: list[str], container: str = "") -> str:
        """Its output. AssertionError when it ended with another status than 0."""
        with client.ApiClient() as own:  # stream() changes the client that it gets
            chosen = {"container": container} if container else {}
            session = stream(
                cast(Any, client.CoreV1Api(own)).connect_get_namespaced_pod_exec,
                pod,
                namespace,
                command=command,
                stdin=False,
                stdout=True,
                stderr=True,
                tty=False,
                _preload_content=False,
                **chosen,
            )
            session.run_forever(timeout=120)
            out, err, code = session.read_stdout(timeout=1) or "", session.read_stderr(timeout=1) or "", None
            with contextlib.suppress(ValueError, KeyError, TypeError):
                code = session.returncode
            session.sock.shutdown()
        assert code == 0, f"{command[:3]} in {namespace}/{pod} ended with {code}: {err or out}"
        return str(out)

    def secret(self, name: str) -> dict[str, str]:
        """Key and certificate of a Secret of Stoker's, as an administrator can read them."""
        data = self.core.read_namespaced_secret(name, SYSTEM).data
        return {key: base64.b64decode(data[key]).decode() for key in ("tls.crt", "tls.key")}

    def token(self, namespace: str, account: str = "default", audience: str = "stoker") -> str:
        request = {"spec": {"audiences": [audience], "expirationSeconds": 600}}
        made = self.core.create_namespaced_service_account_token(account, namespace, request)
        return str(made.status.token)

    # Namespaces, and what is left after a test.

    @contextlib.contextmanager
    def fresh_namespace(self) -> Iterator[str]:
        name = f"e2e-{uuid.uuid4().hex[:8]}"
        self.core.create_namespace({"metadata": {"name": name, "labels": {"stoker-e2e": "1"}}})
        wait_until(f"{name} has its account", lambda: self._has_account(name), 20)
        try:
            yield name
        finally:
            self.custom.delete_collection_namespaced_custom_object(GROUP, VERSION, name, PLURAL)

            def gone() -> bool:
                return not self.core.list_namespaced_pod(name, label_selector="stoker.dev/role").items

            wait_until(f"the pods of {name} are gone", gone, 60)
            self.core.delete_namespace(name)

    def _has_account(self, namespace: str) -> bool:
        try:
            self.core.read_namespaced_service_account("default", namespace)
        except ApiException:
            return False
        return True

    def collect(self, folder: Path, namespace: str) -> None:
        """Logs of all components, all functions, nodes, pods and events: to find out why a test failed."""
        folder.mkdir(parents=True, exist_ok=True)
        for pod in self.core.list_namespaced_pod(SYSTEM).items:
            for container in pod.spec.containers:
                for previous in (False, True):
                    with contextlib.suppress(ApiException):
                        text = self.core.read_namespaced_pod_log(
                            pod.metadata.name, SYSTEM, container=container.name, previous=previous, tail_lines=3000
                        )
                        end = ".before.log" if previous else ".log"
                        (folder / f"{pod.metadata.name}.{container.name}{end}").write_text(str(text))
        api: Any = client.ApiClient()
        plain = api.sanitize_for_serialization
        reads: dict[str, Callable[[], Any]] = {
            "functions": lambda: self.custom.list_cluster_custom_object(GROUP, VERSION, PLURAL),
            "functionnodes": lambda: self.custom.list_cluster_custom_object(GROUP, VERSION, "functionnodes"),
            "pods": lambda: plain(self.core.list_namespaced_pod(namespace)),
            "system-pods": lambda: plain(self.core.list_namespaced_pod(SYSTEM)),
            "events": lambda: plain(self.core.list_namespaced_event(namespace)),
        }
        for name, read in reads.items():
            with contextlib.suppress(ApiException, urllib3.exceptions.HTTPError):
                (folder / f"{name}.yaml").write_text(yaml.safe_dump(read(), sort_keys=False))


def image(name: str) -> str:
    """Where the images of images/ are: localhost, or the registry and tag that the environment names."""
    return images.reference(
        name, os.environ.get("STOKER_TEST_REGISTRY", "localhost"), os.environ.get("STOKER_TEST_TAG", "dev")
    )


def function(namespace: str, name: str, *, env: Mapping[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """The document of a function with the echo server, small enough that many fit a node."""
    container = {
        "image": image("echo-function"),
        "readiness": {"path": "/health"},
        "resources": {"cpu": "20m", "memory": "64Mi"},
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        **spec.pop("container", {}),
    }
    scaling = {"keepAlive": {"policy": "FixedTTL", "ttl": "5s"}, **spec.pop("scaling", {})}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "GpuFunction",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "container": container,
            "gpu": {"memory": "4Gi"},
            "slo": {"latency": "5s"},
            "scaling": scaling,
            **spec,
        },
    }


def is_ready(pod: Pod) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or ())


def wait_until(
    what: str, is_so: Callable[[], T | None], timeout_s: float, seen: Callable[[], object] = lambda: ""
) -> T:
    """The first true value; AssertionError, with what is seen then, when none came. Survives lost connections."""
    until = time.monotonic() + timeout_s
    problem: object = ""
    while True:
        try:
            value = is_so()
            if value:
                return value
            problem = ""
        except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
            problem = error
        if time.monotonic() > until:
            raise AssertionError(f"within {timeout_s:g} s it did not come true that {what}: {problem or seen()}")
        time.sleep(0.1)


def call_at(
    way_in: tuple[str, int],
    host: str,
    path: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 90.0,
) -> Answer:
    """One request to an address, and what came back."""
    connection = http.client.HTTPConnection(*way_in, timeout=timeout_s)
    began = time.monotonic()
    try:
        connection.request(method, path, body or None, {"Host": host, **(headers or {})})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, text, began, time.monotonic() - began)
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, {}, f"{type(error).__name__}: {error}", began, time.monotonic() - began)
    finally:
        connection.close()
