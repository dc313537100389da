"""Ends a cluster and removes every trace, whatever state it is in: half started, half killed, or from before a
crash.

Nothing is asked to end gracefully, since its data goes too. A node dies with its holder (see node.py), so what is
left on the host is few: its servers, the bridge, the control groups and the folder.
"""

import os
import time

from cluster import cgroups, network, node
from cluster.errors import ClusterError
from cluster.layout import Layout
from cluster.processes import Processes, kill_marked


class LeftOverError(ClusterError):
    """Something of the cluster could not be removed; the message says what."""


def tear_down(layout: Layout) -> None:
    """Removes the cluster; one that is not there is no error. Raises LeftOverError."""
    running = Processes(layout.directory)
    for each in layout.nodes:
        running.stop(node.process("holder", each), grace_s=0)
    left = kill_marked(layout.directory)
    if left:
        raise LeftOverError(f"cluster: these processes outlived SIGKILL: {', '.join(map(str, left))}")
    for each in layout.nodes:
        if not cgroups.remove(each.cgroup):
            raise LeftOverError(f"cluster: the control group {each.cgroup} still has processes and stays")
    network.remove_bridge(layout)
    _remove(layout)


def _remove(layout: Layout) -> None:
    """Takes the folder away at once; its 30,000 files of unpacked images are deleted by a program of their own."""
    prefix = f".{layout.directory.name}.removing-"
    if layout.directory.exists():
        layout.directory.rename(layout.directory.with_name(f"{prefix}{os.getpid()}-{time.monotonic_ns()}"))
    # Also what an earlier one did not get to, because the machine went down.
    leaving = [str(path) for path in layout.directory.parent.glob(f"{prefix}*")]
    if leaving:
        # Its output goes nowhere: else whoever reads ours would wait for it too.
        silent = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
        command = ["rm", "-rf", "--one-file-system", *leaving]
        os.posix_spawnp("rm", command, dict(os.environ), file_actions=silent, setsid=True)
