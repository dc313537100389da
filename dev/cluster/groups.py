"""Which programs the cluster consists of: Go modules, pinned by the go.mod and go.sum next to this file.

Data only. Each group has a go.mod of its own, since one for all would mix their versions of the Kubernetes libraries.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

KUBERNETES_VERSION: Final = "v1.37.2"
COREDNS_VERSION: Final = "v1.15.0"

_VERSION = "k8s.io/component-base/version"


class Group(msgspec.Struct, frozen=True):
    """Programs built from one go.mod with the same flags."""

    name: str
    packages: Mapping[str, str]
    """Program to Go package, in the order in which they are built: what others wait for comes first."""
    tags: str = ""
    variables: Mapping[str, str] = {}
    """String variables set by the linker."""

    @property
    def pins(self) -> Path:
        return Path(__file__).parent / "go" / self.name

    @property
    def flags(self) -> tuple[str, ...]:
        """The arguments of `go build` that decide what comes out."""
        settings = "".join(f" -X {name}={value}" for name, value in sorted(self.variables.items()))
        tags = ("-tags", self.tags) if self.tags else ()
        return ("-mod=readonly", "-trimpath", *tags, "-ldflags", f"-s -w{settings}")


GROUPS: Final[tuple[Group, ...]] = (
    Group(
        "kubernetes",
        {
            "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
            "etcd": "go.etcd.io/etcd/server/v3",
            "kubectl": "k8s.io/kubernetes/cmd/kubectl",
            "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
            "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
            "kubelet": "k8s.io/kubernetes/cmd/kubelet",
            "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
        },
        variables={
            f"{_VERSION}.gitVersion": KUBERNETES_VERSION,
            f"{_VERSION}.gitMajor": KUBERNETES_VERSION.removeprefix("v").split(".")[0],
            f"{_VERSION}.gitMinor": KUBERNETES_VERSION.split(".")[1],
        },
    ),
    Group(
        "containerd",
        {
            name: f"github.com/containerd/containerd/v2/cmd/{name}"
            for name in ("containerd", "containerd-shim-runc-v2", "ctr")
        },
        tags="no_btrfs,no_zfs,no_devmapper",
    ),
    Group("coredns", {"coredns": "github.com/coredns/coredns"}),
    Group("kube-router", {"kube-router": "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"}),
    Group("kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}),
    Group("helm", {"helm": "helm.sh/helm/v4/cmd/helm"}),
    Group(
        "prometheus",
        {name: f"github.com/prometheus/prometheus/cmd/{name}" for name in ("prometheus", "promtool")},
        tags="remove_all_sd,enable_kubernetes_sd",
    ),
)

CONTROL_PLANE: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
NODE: Final = ("kubelet", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr", "kube-router")
WHOLE_CLUSTER: Final = (*CONTROL_PLANE, *NODE, "coredns")


def group_of(program: str) -> Group:
    """The group that holds this program. Raises ValueError for a name that no group has."""
    for group in GROUPS:
        if program in group.packages:
            return group
    known = ", ".join(name for group in GROUPS for name in group.packages)
    raise ValueError(f"cluster: no go.mod under dev/cluster/go builds {program!r}; known are: {known}")
