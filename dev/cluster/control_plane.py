"""The command lines of etcd and Kubernetes' servers, and the files that they read. Starts nothing.

The cluster and the API server of the contract tests differ in addresses and in who starts the programs, not in these.
"""

import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from cluster.binaries import binary
from cluster.certificates import ADMINISTRATORS, Authority, KeyPair, signing_pair, write_kubeconfig

_LOOPBACK: Final = "127.0.0.1"
_SERVER_NAMES: Final = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


class Ports(msgspec.Struct, frozen=True):
    api: int
    etcd_client: int
    etcd_peer: int
    controller_manager: int
    scheduler: int


class ControlPlane(msgspec.Struct, frozen=True):
    """Where one control plane lives. `certificates()` comes first, then the command lines in any order."""

    directory: Path
    ports: Ports
    address: str = _LOOPBACK
    service_cidr: str = "10.96.0.0/16"
    pod_cidr: str = ""

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.ports.api}"

    @property
    def service_address(self) -> str:
        """The ClusterIP under which pods find the API server."""
        return str(ipaddress.ip_network(self.service_cidr)[1])

    @property
    def keys(self) -> Path:
        return self.directory / "pki"

    def kubeconfig(self, user: str) -> Path:
        return self.directory / f"{user}.kubeconfig"

    def certificates(self, nodes: Sequence[str] = ()) -> None:
        """Writes a new authority, the servers' pairs and one kubeconfig per user. Call it once per cluster."""
        self.keys.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        authority = Authority("stoker-cluster")
        (self.keys / "ca.crt").write_bytes(authority.certificate)
        names = (*_SERVER_NAMES, _LOOPBACK, self.address, self.service_address)
        authority.issue("kube-apiserver", names=dict.fromkeys(names)).write(self.keys, "apiserver")
        signing_pair().write(self.keys, "service-accounts")
        administrator = authority.issue("stoker-administrator", organizations=[ADMINISTRATORS])
        administrator.write(self.keys, "administrator")
        self._kubeconfig("administrator", authority, administrator)
        for user in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
            self._kubeconfig(user, authority, authority.issue(f"system:{user}"))
        for node in nodes:
            pair = authority.issue(f"system:node:{node}", organizations=["system:nodes"])
            self._kubeconfig(node, authority, pair)

    def _kubeconfig(self, user: str, authority: Authority, pair: KeyPair) -> None:
        write_kubeconfig(self.kubeconfig(user), server=self.url, authority=authority.certificate, client=pair)

    def etcd(self) -> list[str]:
        client = f"http://{_LOOPBACK}:{self.ports.etcd_client}"
        peer = f"http://{_LOOPBACK}:{self.ports.etcd_peer}"
        return [
            str(binary("etcd")),
            "--name=stoker",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=stoker={peer}",
            "--unsafe-no-fsync",  # a cluster for tests: losing the last second in a power cut is no loss
            "--log-level=warn",
        ]

    def api_server(self, extra: Sequence[str] = ()) -> list[str]:
        keys = self.keys
        return [
            str(binary("kube-apiserver")),
            f"--etcd-servers=http://{_LOOPBACK}:{self.ports.etcd_client}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={self.ports.api}",
            f"--tls-cert-file={keys / 'apiserver.crt'}",
            f"--tls-private-key-file={keys / 'apiserver.key'}",
            f"--client-ca-file={keys / 'ca.crt'}",
            f"--kubelet-client-certificate={keys / 'administrator.crt'}",
            f"--kubelet-client-key={keys / 'administrator.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-key-file={keys / 'service-accounts.crt'}",
            f"--service-account-signing-key-file={keys / 'service-accounts.key'}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--service-cluster-ip-range={self.service_cidr}",
            # A loopback address is no valid endpoint of the Service `kubernetes`; nothing needs it there.
            *(["--endpoint-reconciler-type=none"] if self.address == _LOOPBACK else []),
            *extra,
        ]

    def controller_manager(self) -> list[str]:
        config = self.kubeconfig("kube-controller-manager")
        return [
            str(binary("kube-controller-manager")),
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            f"--bind-address={_LOOPBACK}",
            f"--secure-port={self.ports.controller_manager}",
            f"--root-ca-file={self.keys / 'ca.crt'}",
            f"--service-account-private-key-file={self.keys / 'service-accounts.key'}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            *([f"--cluster-cidr={self.pod_cidr}", "--allocate-node-cidrs=false"] if self.pod_cidr else []),
        ]

    def scheduler(self, config: Path | None = None) -> list[str]:
        """With the given KubeSchedulerConfiguration, or with the default profile."""
        kubeconfig = self.kubeconfig("kube-scheduler")
        if config is None:
            config = self.directory / "kube-scheduler.json"
            document = {
                "apiVersion": "kubescheduler.config.k8s.io/v1",
                "kind": "KubeSchedulerConfiguration",
                "clientConnection": {"kubeconfig": str(kubeconfig)},
                "leaderElection": {"leaderElect": False},
            }
            config.write_text(json.dumps(document))
        return [
            str(binary("kube-scheduler")),
            f"--config={config}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--bind-address={_LOOPBACK}",
            f"--secure-port={self.ports.scheduler}",
        ]
