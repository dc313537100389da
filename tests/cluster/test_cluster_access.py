"""Who may speak to whom: certificates of agents and gateways, NetworkPolicies of replicas, tokens of callers."""

import pytest
from cluster_under_test import SYSTEM, ClusterUnderTest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(90)]

_TLS = """
import os, socket, ssl, sys, tempfile
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
if sys.argv[4]:
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(sys.argv[4]); file.flush()
        context.load_cert_chain(file.name)
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as plain:
        with context.wrap_socket(plain) as tls:
            tls.sendall(f"GET {sys.argv[3]} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode())
            print((tls.recv(100) or b"closed").split(b"\\r")[0].decode())
except OSError as error:
    print("closed", error)
"""
_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=4).close()
    print("open")
except OSError as error:
    print("shut", error)
"""


@pytest.mark.parametrize(
    ("caller", "callee", "port", "path"),
    [
        ("gateway", "node", 8443, "/v1/load"),
        ("operator", "node", 8444, "/v1/replicas"),
        ("operator", "gateway", 8444, "/v1/demand"),
    ],
)
def test_only_the_right_certificate_opens_the_inner_ports(
    as_is: ClusterUnderTest, caller: str, callee: str, port: int, path: str
) -> None:
    """From pods that NetworkPolicies let through, so that it is TLS that refuses."""
    source, target = as_is.component_pods(caller)[0], as_is.component_pods(callee)[0]

    def call(certificate: str) -> str:
        pem = "".join(as_is.secret(f"stoker-tls-{certificate}").values()) if certificate else ""
        words = [target.status.pod_ip, str(port), path, pem]
        return as_is.run_in(SYSTEM, source.metadata.name, ["python", "-c", _TLS, *words]).strip()

    assert call(caller) == "HTTP/1.1 200 OK"
    assert call("").startswith("closed"), "without a certificate"
    refused = call("operator" if caller == "gateway" else "scheduler")
    assert refused.startswith("closed") or " 403 " in refused, "with one of ours that has no business there"


def test_network_policies_keep_other_pods_from_replicas_agents_and_gateways(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    cluster.apply(namespace, "walled", scaling={"minReplicas": 1, "maxReplicas": 1})
    cluster.start_caller(namespace)
    cluster.wait_warm(namespace, "walled", 1)
    (pod,) = cluster.replica_pods(namespace)
    agent, gateway = cluster.component_pods("node")[0], cluster.component_pods("gateway")[0]

    def connect(address: str, port: int) -> str:
        return cluster.run_in(namespace, "caller", ["python", "-c", _CONNECT, address, str(port)])

    for address, port in (
        (pod.status.pod_ip, 8080),
        (agent.status.pod_ip, 8443),
        (agent.status.pod_ip, 8444),
        (gateway.status.pod_ip, 8444),
    ):
        said = connect(address, port)
        assert "shut" in said, (address, port, said)
    assert "open" in connect(gateway.status.pod_ip, 8080)
    assert cluster.call(namespace, "walled").status == 200


def test_a_function_for_its_namespace_serves_those_who_prove_that_they_are_of_it(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    cluster.apply(namespace, "private", access={"visibility": "Namespace"}, scaling={"minReplicas": 1})
    cluster.wait_warm(namespace, "private", 1)

    def call(token: str = "") -> tuple[int, str]:
        headers = {"Stoker-Authorization": f"Bearer {token}"} if token else {}
        answer = cluster.call(namespace, "private", headers=headers)
        return answer.status, answer.text if answer.status == 200 else answer.value["reason"]

    assert call() == (401, "Unauthenticated")
    assert call(cluster.token(namespace, audience="another")) == (401, "Unauthenticated")
    assert call("not.a.token") == (401, "Unauthenticated")
    assert call(cluster.token("default")) == (403, "AccessDenied")
    assert call(cluster.token(namespace))[0] == 200


def test_a_replica_gets_no_token_of_the_cluster_and_cannot_read_it(cluster: ClusterUnderTest, namespace: str) -> None:
    cluster.apply(namespace, "bare", scaling={"minReplicas": 1, "maxReplicas": 1})
    cluster.wait_warm(namespace, "bare", 1)
    (pod,) = cluster.replica_pods(namespace)
    mounts = [mount.mount_path for mount in pod.spec.containers[0].volume_mounts]
    assert not any("serviceaccount" in path for path in mounts)
    assert pod.spec.automount_service_account_token is False
    assert pod.spec.security_context.run_as_non_root
