"""What tests can do only to a cluster of dev/cluster: end and begin a node's programs, and decide on its images."""

import json
import os
import subprocess
from pathlib import Path

from cluster import images, layout, loading, start, system_images
from cluster.binaries import binary
from cluster.layout import Layout, NodeLayout
from cluster.processes import Processes

GREEDY = {"imageMinimumGCAge": "1ns", "imageMaximumGCAge": "2ns"}
"""A kubelet with these collects, at its start, every image that it does not know to be in use."""


class ClusterOfOurs:
    """The cluster whose name the environment gives (dev/cluster_e2e sets it)."""

    def __init__(self, found: Layout) -> None:
        self._layout = found
        self._processes = Processes(found.directory)
        self._configs: dict[str, str] = {}

    def stop(self, program: str, node: str) -> None:
        """End it at once, as a crash would."""
        self._processes.stop(f"{program}.{node}", grace_s=0.1)

    def begin(self, program: str, node: str) -> None:
        self._processes.restart(f"{program}.{node}")

    def name_image(self, node: str, reference: str, also: str) -> None:
        """Give an image of a node a second name there."""
        self._ctr(node, "images", "tag", "--force", reference, also)

    def has_image(self, node: str, reference: str) -> bool:
        return reference in self._ctr(node, "images", "list", "--quiet").split()

    def collect_images(self, node: str) -> None:
        """Let the node's kubelet begin anew, collecting all images that are not in use: it does so first of all."""
        config = self._config(node)
        self._configs[node] = config.read_text()
        config.write_text(json.dumps({**json.loads(self._configs[node]), **GREEDY}))
        self.begin("kubelet", node)

    def give_images_back(self, node: str) -> None:
        """The kubelet as before, and all images on all nodes again."""
        self._config(node).write_text(self._configs.pop(node))
        self.begin("kubelet", node)
        loading.load(self._layout, {**system_images.archives(), **images.built()})

    def _config(self, node: str) -> Path:
        found = list(self._node(node).directory.glob("kubelet*.json"))
        assert len(found) == 1, found
        return found[0]

    def _node(self, name: str) -> NodeLayout:
        return next(node for node in self._layout.nodes if node.name == name)

    def _ctr(self, node: str, *arguments: str) -> str:
        command = [str(binary("ctr")), "--address", str(self._node(node).socket), "--namespace", "k8s.io", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def cluster_of_ours() -> ClusterOfOurs | None:
    """None where the cluster under test is somebody else's."""
    name = os.environ.get("STOKER_CLUSTER")
    if not name:
        return None
    found = start.saved(layout.make_layout(name, 0, layout.DEFAULT_PORT_BASE).directory)
    return None if found is None else ClusterOfOurs(found)
