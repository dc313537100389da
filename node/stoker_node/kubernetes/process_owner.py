"""Which pod a process of the host belongs to, by its cgroup. Only where the agent sees the host's processes.

The kubelet puts the pod's uid into the path of the cgroup; with the systemd driver its dashes are underscores.
"""

import re
from pathlib import Path

_POD = re.compile(r"pod(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})", re.ASCII)


def pod_of(pid: int, proc: Path = Path("/proc")) -> str | None:
    """The uid of the pod that the process is in; None where it is in none, or has ended."""
    try:
        text = (proc / str(pid) / "cgroup").read_text("utf-8", "replace")
    except OSError:
        return None
    found = {match["uid"].replace("_", "-") for match in _POD.finditer(text)}
    # Different pods in different hierarchies: nothing is certain.
    return found.pop() if len(found) == 1 else None
