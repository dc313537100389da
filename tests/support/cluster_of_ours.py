"""What tests can do only to a cluster of dev/cluster: end and begin a node's programs, give an image to one node."""

import os
import subprocess

from cluster import layout, start
from cluster.binaries import binary
from cluster.layout import Layout, NodeLayout
from cluster.processes import Processes


class ClusterOfOurs:
    """The cluster whose name the environment gives (dev/cluster_e2e sets it)."""

    def __init__(self, found: Layout) -> None:
        self._layout = found
        self._processes = Processes(found.directory)

    def stop(self, program: str, node: str) -> None:
        """End it at once, as a crash would."""
        self._processes.stop(f"{program}.{node}", grace_s=0.1)

    def begin(self, program: str, node: str) -> None:
        self._processes.restart(f"{program}.{node}")

    def name_image(self, node: str, reference: str, also: str) -> None:
        """Give an image of a node a second name there."""
        self._ctr(node, "images", "tag", "--force", reference, also)

    def _node(self, name: str) -> NodeLayout:
        return next(node for node in self._layout.nodes if node.name == name)

    def _ctr(self, node: str, *arguments: str) -> None:
        command = [str(binary("ctr")), "--address", str(self._node(node).socket), "--namespace", "k8s.io", *arguments]
        subprocess.run(command, capture_output=True, check=True)


def cluster_of_ours() -> ClusterOfOurs | None:
    """None where the cluster under test is somebody else's."""
    name = os.environ.get("STOKER_CLUSTER")
    if not name:
        return None
    found = start.saved(layout.make_layout(name, 0, layout.DEFAULT_PORT_BASE).directory)
    return None if found is None else ClusterOfOurs(found)
