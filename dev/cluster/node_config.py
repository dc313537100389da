"""The configuration files of one node, as text. Pure. What differs from a usual node says why."""

import json
from pathlib import Path
from typing import Any, Final

from cluster.layout import CLUSTER_DOMAIN, Layout, NodeLayout

PAUSE_IMAGE: Final = "localhost/cluster-pause:1"
CNI_PLUGINS: Final = "/usr/lib/cni"


def containerd(node: NodeLayout) -> str:
    """Root, state and socket are at their usual places: the node covers those with folders of its own."""
    return f"""version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE runc fails otherwise: "can't get final child's PID from pipe: EOF".
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{CNI_PLUGINS}"]
  conf_dir = "{node.directory / "cni"}"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
"""


def cni(node: NodeLayout) -> str:
    return _json(
        {
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cni0",
                    "isGateway": True,
                    "ipMasq": False,
                    "hairpinMode": True,  # a pod reaches itself through its Service
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": node.pod_subnet}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
    )


def kubelet(layout: Layout, node: NodeLayout) -> str:
    return _json(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": "0.0.0.0",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(layout.control_plane.keys / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{node.cgroup}",  # two kubelets on one root would kill each other's pods
            "failCgroupV1": False,
            "enforceNodeAllocatable": [],
            "clusterDNS": [layout.dns_address],
            "clusterDomain": CLUSTER_DOMAIN,
            "resolvConf": str(node.directory / "resolv.conf"),
            "failSwapOn": False,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            # Without a registry an image that was collected never comes back.
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "nodeStatusUpdateFrequency": "1s",
            "registryPullQPS": 0,
            "eventRecordQPS": 0,
            "serializeImagePulls": False,
        }
    )


def kube_proxy(layout: Layout, node: NodeLayout) -> str:
    return _json(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clusterCIDR": str(layout.pod_network),
            "hostnameOverride": node.name,
            "clientConnection": {"kubeconfig": str(layout.control_plane.kubeconfig("kube-proxy"))},
            # Leaves the kernel's connection tracking settings alone: they belong to the whole machine.
            "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
            "nodePortAddresses": ["primary"],
        }
    )


def kube_router(layout: Layout, node: NodeLayout, program: Path) -> list[str]:
    """As firewall only: the bridge plugin enforces no NetworkPolicy."""
    return [
        str(program),
        f"--kubeconfig={layout.kubeconfig}",
        f"--hostname-override={node.name}",
        "--run-router=false",
        "--run-firewall=true",
        "--run-service-proxy=false",
        f"--service-cluster-ip-range={layout.service_network}",
        "--health-port=0",
        "--metrics-port=0",
    ]


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"
